//! The definitions once more, in exact rationals, as plainly as they can be written.
//!
//! Shares nothing with the library but its types, the rows of the design, the table of the noise floor and
//! the hash of a tie.

use num_bigint::BigInt;
use num_rational::BigRational;
use openledger_attribution::{
    Design, EMPTY_RUN_CONTRASTS_MIN, FLOOR_MAX, HOLDERS_MAX, Influence, Inputs, Outcome,
    SPAN_SURPRISAL_MIN, SPAN_TOKENS_MIN, Share, Shares, Span, SpanCredit, floor_multiple,
};
use openledger_primitives::{B256, keccak256};

pub(crate) fn outcome(inputs: &Inputs) -> Outcome {
    let players = usize::from(inputs.design.players);
    let design = Design::with_order(players, inputs.design.order).unwrap();
    let order = integer(design.order());

    let unused = unused(&design, &inputs.values);
    let empty = empty_run(&design, &unused);
    let effects: Vec<BigRational> =
        (0..players).map(|c| contrast(&design, &inputs.values, c, -1) + &empty).collect();
    let margin = noise_margin(unused.into_iter().map(|c| c - &empty).collect());
    let noise_floor = (&margin * &order).ceil().min(integer(FLOOR_MAX));
    let explained = explained(inputs, design.order());
    let credit = credit(inputs);

    let pays = inputs.influence == Influence::Paid;
    let paid: Vec<BigRational> = effects
        .iter()
        .map(|e| if pays && e * &order > noise_floor && *e > zero() { e.clone() } else { zero() })
        .collect();
    let exact = exact_shares(explained, &paid, &credit);
    let shares = largest_remainder(&exact, inputs.tie_seed);

    Outcome {
        effects: effects.iter().map(|e| whole(&(e * &order))).collect(),
        noise_floor: whole(&noise_floor),
        explained,
        credit,
        shares,
    }
}

/// (1/m) Σ_r D[r,column]·v_r, with the fold of the column of sign `fold`.
fn contrast(design: &Design, values: &[i64], column: usize, fold: i64) -> BigRational {
    let order = design.order();
    let mut sum = zero();
    for (run, value) in values.iter().enumerate() {
        let sign = if design.rows()[run % order] >> column & 1 == 1 { 1 } else { -1 };
        let fold = if run < order { 1 } else { fold };
        sum += integer(*value) * integer(sign * fold);
    }
    sum / integer(order)
}

/// The contrasts that no player owns, with the sign of the empty run.
fn unused(design: &Design, values: &[i64]) -> Vec<BigRational> {
    let odd = (design.players()..design.order()).map(|c| -contrast(design, values, c, -1));
    let even = (1..design.order()).map(|c| contrast(design, values, c, 1));
    odd.chain(even).collect()
}

/// The mean of all but the two extremes, down to whole units of 1/m, if that is negative.
fn empty_run(design: &Design, unused: &[BigRational]) -> BigRational {
    if unused.len() < EMPTY_RUN_CONTRASTS_MIN {
        return zero();
    }
    let mut ascending = unused.to_vec();
    ascending.sort();
    let kept = &ascending[1..ascending.len() - 1];
    let mean = kept.iter().sum::<BigRational>() / integer(kept.len());
    let order = integer(design.order());
    ((mean * &order).floor() / order).min(zero())
}

/// Lenth 1989, with the contrasts that no player owns, times the multiple for their number.
fn noise_margin(contrasts: Vec<BigRational>) -> BigRational {
    let mut magnitudes: Vec<BigRational> =
        contrasts.into_iter().map(|c| if c < zero() { -c } else { c }).collect();
    let Some(multiple) = floor_multiple(magnitudes.len()) else { return zero() };
    magnitudes.sort();
    let first = ratio(3, 2) * median(&magnitudes);
    magnitudes.retain(|c| *c < ratio(5, 2) * &first);
    ratio(i64::from(multiple), 64) * ratio(3, 2) * median(&magnitudes)
}

fn median(ascending: &[BigRational]) -> BigRational {
    match ascending.len() {
        0 => zero(),
        n if n % 2 == 1 => ascending[n / 2].clone(),
        n => (&ascending[n / 2 - 1] + &ascending[n / 2]) / integer(2),
    }
}

/// 1 − exp(−x), cut to parts of 2³² after exp was cut to parts of 2⁶⁴.
fn explained(inputs: &Inputs, order: usize) -> Share {
    let tokens = inputs.surprisals.len();
    let gain = inputs.values[0] - inputs.values[order];
    if tokens == 0 || gain <= 0 {
        return Share::ZERO;
    }
    // exp(−x) = exp(−x/2ᵏ)^2ᵏ in 320 bits, with x/2ᵏ < 1.
    let bits = 320u32;
    let one = BigInt::from(1) << bits;
    let mut x = (BigInt::from(gain) << (bits - 20)) / BigInt::from(tokens);
    let mut halvings = 0;
    while x >= one {
        x >>= 1;
        halvings += 1;
    }
    let (mut term, mut sum) = (one.clone(), one.clone());
    for n in 1..90 {
        term = -((&term * &x) >> bits) / n;
        sum += &term;
    }
    for _ in 0..halvings {
        sum = (&sum * &sum) >> bits;
    }
    let exp: BigInt = sum >> (bits - 64);
    let parts: BigInt = ((BigInt::from(1) << 64u32) - exp) >> 32u32;
    Share::from_parts(u64::try_from(parts).unwrap()).unwrap()
}

fn credit(inputs: &Inputs) -> SpanCredit {
    let surprisals = &inputs.surprisals;
    let mut spans: Vec<Span> = Vec::new();
    for found in &inputs.matches {
        let tokens = found.start as usize..(found.start + found.length) as usize;
        let surprisal = surprisals[tokens].iter().sum();
        if found.length >= SPAN_TOKENS_MIN && surprisal >= SPAN_SURPRISAL_MIN {
            let (start, length) = (found.start, found.length);
            let (holders, earliest) = (found.holders, found.earliest);
            spans.push(Span { start, length, holders, earliest, surprisal, charged: 0 });
        }
    }
    let mut per_player = vec![0; usize::from(inputs.design.players)];
    let (mut commons, mut covered) = (0, 0);
    for (token, surprisal) in (0u32..).zip(surprisals) {
        let mut best: Option<usize> = None;
        for (index, span) in spans.iter().enumerate() {
            let covers = span.start <= token && token < span.start + span.length;
            if covers && best.is_none_or(|best| span.surprisal > spans[best].surprisal) {
                best = Some(index);
            }
        }
        let Some(best) = best else { continue };
        spans[best].charged += surprisal;
        covered += surprisal;
        if spans[best].holders > HOLDERS_MAX {
            commons += surprisal;
        } else {
            per_player[usize::from(spans[best].earliest.unwrap().player)] += surprisal;
        }
    }
    SpanCredit { spans, per_player, commons, covered, total: surprisals.iter().sum() }
}

/// s_c = ε·(a·span_c + (1 − a)·φ⁺_c/Σφ⁺).
fn exact_shares(explained: Share, paid: &[BigRational], credit: &SpanCredit) -> Vec<BigRational> {
    let epsilon = ratio(explained.parts(), Share::ONE.parts());
    let over = |part: &BigRational, all: &BigRational| {
        if *all == zero() { zero() } else { part / all }
    };
    let a = over(&integer(credit.covered), &integer(credit.total));
    let effect_sum: BigRational = paid.iter().sum();
    paid.iter()
        .zip(&credit.per_player)
        .map(|(effect, charged)| {
            let span = over(&integer(*charged), &integer(credit.covered));
            &epsilon * (&a * span + (integer(1) - &a) * over(effect, &effect_sum))
        })
        .collect()
}

fn largest_remainder(exact: &[BigRational], tie_seed: B256) -> Shares {
    let scaled: Vec<BigRational> = exact.iter().map(|s| s * integer(1u64 << 32)).collect();
    let mut parts: Vec<i64> = scaled.iter().map(|s| whole(&s.floor())).collect();
    let target = whole(&scaled.iter().sum::<BigRational>().floor());
    let mut order: Vec<usize> = (0..scaled.len()).collect();
    order.sort_by_key(|player| {
        let mut tie = tie_seed.to_vec();
        tie.push(*player as u8);
        (-scaled[*player].fract(), keccak256(tie))
    });
    let missing = target - parts.iter().sum::<i64>();
    for player in order.into_iter().take(missing as usize) {
        parts[player] += 1;
    }
    let share = |parts: i64| Share::from_parts(parts as u64).unwrap();
    Shares {
        players: parts.iter().map(|p| share(*p)).collect(),
        commons: share((1i64 << 32) - parts.iter().sum::<i64>()),
    }
}

fn zero() -> BigRational {
    integer(0)
}

fn integer(n: impl Into<BigIntLike>) -> BigRational {
    BigRational::from_integer(n.into().0)
}

fn ratio(n: impl Into<BigIntLike>, d: impl Into<BigIntLike>) -> BigRational {
    BigRational::new(n.into().0, d.into().0)
}

fn whole(n: &BigRational) -> i64 {
    assert!(n.is_integer());
    i64::try_from(n.to_integer()).unwrap()
}

/// Any integer these formulae meet.
struct BigIntLike(BigInt);

macro_rules! from_integers {
    ($($kind:ty),*) => {$(
        impl From<$kind> for BigIntLike {
            fn from(n: $kind) -> Self {
                Self(BigInt::from(n))
            }
        }
    )*};
}
from_integers!(i32, i64, u64, usize);
