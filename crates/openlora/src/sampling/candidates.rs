//! How likely each token is, which of them stay, and one of these by chance.
//!
//! ```text
//! logits ─▶ the likeliest top_k ─▶ weights e^((logit − top) ÷ temperature) ─▶ min_p ─▶ top_p ─▶ draw in the order of ids
//! ```
//!
//! What does not stay weighs nothing. Each cut is found by selection, never by sorting; where nothing is cut,
//! nothing is selected either.
//!
//! **Invariant:** the likeliest token stays, and what weighs nothing is not drawn.
//! **Invariant:** a draw depends on what stays and on the random number alone, not on the order in which a
//! selection leaves its elements.

use std::cmp::Reverse;

use openledger_tensor::{SOFTMAX_BLOCK, block_cut, block_maxima, block_weights};

use super::Sampling;

/// Memory for one draw after the other; they have nothing in common but this.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The logits of a request that changes them.
    pub(super) changed: Vec<f32>,
    /// The largest logit of every block.
    maxima: Vec<f32>,
    /// With `top_k`, the tokens that stay, by id, and their logits.
    tokens: Vec<u32>,
    logits: Vec<f32>,
    /// Of all tokens, or of those of `top_k`; and the sums of their blocks.
    weights: Vec<f32>,
    sums: Vec<f64>,
    selection: Vec<Candidate>,
}

/// What is in question while a cut is looked for.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// The larger the likelier; of two with one logit the one that comes first is larger.
    rank: u64,
    weight: f32,
}

impl Candidate {
    fn new(at: u32, logit: f32, weight: f32) -> Self {
        // Zero has one sign here, and bits of negative numbers fall as the numbers rise.
        let bits = (logit + 0.0).to_bits();
        let ordered = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
        Self { rank: u64::from(ordered) << 32 | u64::from(!at), weight }
    }

    /// Its place.
    fn at(self) -> u32 {
        !(self.rank as u32)
    }
}

impl Scratch {
    /// The token that a `uniform` number in [0, 1) falls on. None if no token has a probability: the largest
    /// logit is infinite.
    pub(super) fn draw(
        &mut self,
        logits: &[f32],
        sampling: &Sampling,
        uniform: f64,
    ) -> Option<u32> {
        let few = self.weigh(logits, sampling)?;
        let at = self.pick(uniform);
        Some(if few { self.tokens[at] } else { at as u32 })
    }

    /// The first of the largest logits. None if there is none above −∞.
    pub(super) fn likeliest(&mut self, logits: &[f32]) -> Option<u32> {
        let top = self.top(logits);
        let block = self.maxima.iter().position(|max| *max == top && top > f32::NEG_INFINITY)?;
        let mut of_block = (0u32..).zip(logits).skip(block * SOFTMAX_BLOCK);
        of_block.find(|(_, logit)| **logit == top).map(|(token, _)| token)
    }

    fn top(&mut self, logits: &[f32]) -> f32 {
        self.maxima.resize(logits.len().div_ceil(SOFTMAX_BLOCK), 0.0);
        block_maxima(logits, &mut self.maxima);
        self.maxima.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }

    /// Weights of what stays. Returns whether they are of `tokens` instead of all.
    fn weigh(&mut self, logits: &[f32], sampling: &Sampling) -> Option<bool> {
        let top = self.top(logits);
        if !top.is_finite() {
            return None;
        }
        let few = (1..logits.len()).contains(&sampling.top_k);
        let mut of_few = std::mem::take(&mut self.logits);
        if few {
            self.keep_top_k(logits, sampling.top_k);
            of_few.clear();
            of_few.extend(self.tokens.iter().map(|token| logits[*token as usize]));
        }
        let logits = if few { of_few.as_slice() } else { logits };
        // A temperature so low that this is infinite would make 0 · ∞ of the largest.
        let scale = (1.0 / sampling.temperature).min(f32::MAX);
        self.weights.resize(logits.len(), 0.0);
        self.sums.resize(logits.len().div_ceil(SOFTMAX_BLOCK), 0.0);
        block_weights(logits, top, scale, &mut self.weights, &mut self.sums);
        if sampling.min_p > 0.0 {
            block_cut(&mut self.weights, sampling.min_p.min(1.0), &mut self.sums);
        }
        if sampling.top_p < 1.0 {
            self.cut_nucleus(logits, f64::from(sampling.top_p));
        }
        self.logits = of_few;
        Some(few)
    }

    /// Makes `tokens` the `k` likeliest.
    fn keep_top_k(&mut self, logits: &[f32], k: usize) {
        // At least k blocks have a token that reaches the k-th largest of the maxima.
        let mut least = f32::NEG_INFINITY;
        if k <= self.maxima.len() {
            self.logits.clone_from(&self.maxima);
            least = *self.logits.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1;
        }
        self.selection.clear();
        for (block, max) in (0u32..).zip(&self.maxima) {
            if *max >= least {
                let first = block * SOFTMAX_BLOCK as u32;
                let of_block = (first..).zip(&logits[first as usize..]).take(SOFTMAX_BLOCK);
                let likely = of_block.filter(|(_, logit)| **logit >= least);
                self.selection.extend(likely.map(|(token, x)| Candidate::new(token, *x, 0.0)));
            }
        }
        if k < self.selection.len() {
            self.selection.select_nth_unstable_by_key(k - 1, |one| Reverse(one.rank));
            self.selection.truncate(k);
        }
        self.tokens.clear();
        self.tokens.extend(self.selection.iter().map(|one| one.at()));
        self.tokens.sort_unstable();
    }

    /// Cuts what is not of the smallest set of the likeliest that weighs `top_p` of all, at least one.
    ///
    /// Weights are summed by their size first, so that one size alone is in question; then that is halved again
    /// and again. All of it takes as long as looking at each weight a few times.
    fn cut_nucleus(&mut self, logits: &[f32], top_p: f64) {
        let total: f64 = self.sums.iter().sum();
        // All below this together weigh less than what is cut. A little less, for sums are rounded.
        let outside = 0.999 * total * (1.0 - top_p) / self.weights.len() as f64;
        let mut of_size = [0.0f64; SIZES];
        let blocks = self.weights.chunks(SOFTMAX_BLOCK).zip(&self.sums);
        // No weight is above the sum of its block.
        for (block, _) in blocks.filter(|(_, sum)| **sum >= outside) {
            block.iter().for_each(|weight| of_size[size(*weight)] += f64::from(*weight));
        }
        let (mut mass, mut last) = (total * top_p, 0);
        for (size, sum) in of_size.iter().enumerate().rev().filter(|(_, sum)| **sum > 0.0) {
            last = size;
            if *sum >= mass {
                break;
            }
            mass -= sum;
        }
        self.selection.clear();
        let (least, above) = (smallest(last), smallest(last + 1));
        for (block, sum) in (0u32..).zip(&self.sums) {
            if *sum >= f64::from(least) {
                let first = block * SOFTMAX_BLOCK as u32;
                let of_block = (first..).zip(&self.weights[first as usize..]).take(SOFTMAX_BLOCK);
                let open = of_block.filter(|(_, weight)| (least..above).contains(*weight));
                let candidate =
                    |(at, weight): (u32, &f32)| Candidate::new(at, logits[at as usize], *weight);
                self.selection.extend(open.map(candidate));
            }
        }
        let stay = nucleus(&mut self.selection, mass);
        for cut in &self.selection[stay..] {
            self.weights[cut.at() as usize] = 0.0;
        }
        block_cut(&mut self.weights, least, &mut self.sums);
    }

    /// Which of the weights a `uniform` number in [0, 1) falls on.
    fn pick(&self, uniform: f64) -> usize {
        let mut target = uniform * self.sums.iter().sum::<f64>();
        let mut block = 0;
        for (i, sum) in self.sums.iter().enumerate().filter(|(_, sum)| **sum > 0.0) {
            block = i;
            if target < *sum {
                break;
            }
            target -= sum;
        }
        // By rounding a number may fall behind the last: the last it is.
        let mut at = block * SOFTMAX_BLOCK;
        let of_block = self.weights.iter().enumerate().skip(at).take(SOFTMAX_BLOCK);
        for (i, weight) in of_block.filter(|(_, weight)| **weight > 0.0) {
            at = i;
            target -= f64::from(*weight);
            if target < 0.0 {
                break;
            }
        }
        at
    }
}

/// Moves the likeliest that weigh `mass` together to the front, and returns how many they are: one at least.
fn nucleus(candidates: &mut [Candidate], mut mass: f64) -> usize {
    let (mut from, mut to) = (0, candidates.len());
    while to - from > 1 {
        let half = (to - from) / 2;
        candidates[from..to].select_nth_unstable_by_key(half, |one| Reverse(one.rank));
        let likelier = &candidates[from..from + half];
        let sum: f64 = likelier.iter().map(|one| f64::from(one.weight)).sum();
        // The first of the rest stays if those before it do not reach the mass.
        if sum < mass {
            mass -= sum;
            from += half;
        } else {
            to = from + half;
        }
    }
    to
}

/// Sizes of weights, which are at most 1: eight for each power of two.
const SIZES: usize = (1.0f32.to_bits() >> SIZE_SHIFT) as usize + 1;
/// The exponent and three bits of the mantissa stay.
const SIZE_SHIFT: u32 = 20;

fn size(weight: f32) -> usize {
    (weight.to_bits() >> SIZE_SHIFT) as usize
}

/// The smallest weight of a size.
fn smallest(size: usize) -> f32 {
    f32::from_bits((size as u32) << SIZE_SHIFT)
}

#[cfg(test)]
mod tests;
