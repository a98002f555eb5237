//! The elementary functions against arithmetic in 160 bits: every bound that a docstring states.
//!
//! Errors are counted in units in the last place (ULP) of the exact result. The sweeps over all
//! arguments, against f64, are beside the functions in `math.rs`.

use dashu_float::FBig;
use dashu_float::round::mode::HalfEven;
use openledger_tensor::{EXP_MAX, EXP_MIN, Random, exp, geglu, ln, pow, rsqrt, sin_cos, tanh};

type Exact = FBig<HalfEven, 2>;

/// Bits that the reference carries: far more than any bound here needs, cancellation included.
const BITS: usize = 160;
/// Arguments per dense sweep; unoptimised builds compute the reference slowly.
const DENSE: u32 = if cfg!(debug_assertions) { 200 } else { 4_000 };

fn exact(x: f64) -> Exact {
    Exact::try_from(x).expect("not NaN").with_precision(BITS).value()
}

fn distance(a: &Exact, b: &Exact) -> f64 {
    (a - b).to_f64().value().abs()
}

/// Distance of `y` from the truth in units of the last place of an f32 there.
fn f32_ulps(y: f32, truth: &Exact) -> f64 {
    let exponent = truth.to_f64().value().abs().log2().floor().max(-126.0);
    distance(&exact(f64::from(y)), truth) / (exponent - 23.0).exp2()
}

/// The largest error over some arguments, and where it is.
fn worst<T: Copy>(arguments: impl IntoIterator<Item = T>, error: impl Fn(T) -> f64) -> (f64, T) {
    let errors = arguments.into_iter().map(|x| (error(x), x));
    let errors = errors.inspect(|(error, _)| assert!(error.is_finite(), "no number"));
    errors.reduce(|a, b| if b.0 > a.0 { b } else { a }).expect("there are arguments")
}

/// Values with every exponent that a positive normal f32 has, mantissas at both ends and in between.
fn of_all_exponents() -> impl Iterator<Item = f32> {
    let mut random = Random::new(1, 0);
    (1..=254u32).flat_map(move |exponent| {
        let between = (random.next() >> 41) as u32;
        [0, 1, between, 0x0035_04f2, 0x0035_04f3, 0x007f_fffe, 0x007f_ffff]
            .map(|mantissa| f32::from_bits((exponent << 23) | mantissa))
    })
}

/// The neighbours of x, three on each side, and itself.
fn around(x: f32) -> impl Iterator<Item = f32> {
    (-3..=3i32).map(move |step| f32::from_bits(x.to_bits().wrapping_add_signed(step)))
}

fn evenly(from: f64, to: f64) -> impl Iterator<Item = f64> {
    (0..=DENSE).map(move |i| from + (to - from) * f64::from(i) / f64::from(DENSE))
}

#[test]
fn exp_is_within_its_bound() {
    // The reduction changes over at odd multiples of ln 2 / 2: its largest remainders.
    let turns =
        (-251..=253).step_by(2).map(|n| (f64::from(n) * std::f64::consts::LN_2 / 2.0) as f32);
    let small = of_all_exponents().flat_map(|x| [x, -x]).filter(|x| x.abs() < 1.0);
    let arguments = evenly(f64::from(EXP_MIN), f64::from(EXP_MAX))
        .map(|x| x as f32)
        .chain(turns.flat_map(around))
        .chain(small)
        .chain([EXP_MIN, EXP_MAX, EXP_MIN.next_up(), EXP_MAX.next_down()])
        .filter(|x| (EXP_MIN..=EXP_MAX).contains(x));
    let (error, x) = worst(arguments, |x| f32_ulps(exp(x), &exact(f64::from(x)).exp()));
    println!("exp: {error:.3} ULP at {x:e}");
    assert!(error < 1.5, "{error} ULP at {x:e}");
}

#[test]
fn exp_outside_its_range_is_what_its_description_says() {
    assert_eq!(exp(0.0), 1.0);
    assert_eq!(exp(-0.0), 1.0);
    for x in [EXP_MIN.next_down(), -1000.0, f32::MIN, f32::NEG_INFINITY] {
        assert_eq!(exp(x).to_bits(), 0);
    }
    for x in [EXP_MAX.next_up(), 1000.0, f32::MAX, f32::INFINITY] {
        assert_eq!(exp(x), exp(EXP_MAX));
    }
    assert!(exp(f32::NAN).is_nan());
}

#[test]
fn tanh_is_within_its_bound() {
    // Both sides of the place where the polynomial ends, and far out where the result is one.
    let small = of_all_exponents().filter(|x| *x < 20.0 && *x > 1e-30);
    let arguments = evenly(1e-3, 20.0).map(|x| x as f32).chain(around(0.625)).chain(small);
    let truth = |x: f32| {
        let e = exact(2.0 * f64::from(x)).exp();
        // For small x from the series, where the quotient would lose its digits.
        if x.abs() < 1e-8 { exact(f64::from(x)) } else { (&e - exact(1.0)) / (&e + exact(1.0)) }
    };
    let (error, x) = worst(arguments, |x| f32_ulps(tanh(x), &truth(x)));
    println!("tanh: {error:.3} ULP at {x:e}");
    assert!(error < 3.0, "{error} ULP at {x:e}");
    for x in [0.0f32, 1e-40, 0.3, 0.7, 5.0, 100.0, f32::MAX, f32::INFINITY] {
        assert_eq!(tanh(-x), -tanh(x), "{x:e}");
        assert!(tanh(x) <= 1.0 && (x < 20.0 || tanh(x) == 1.0), "{x:e}");
    }
    assert!(tanh(f32::NAN).is_nan());
}

#[test]
fn gelu_is_within_its_bound() {
    let gelu = |x: f32| {
        let mut y = [0.0];
        geglu(&[x, 1.0], 1, &mut y);
        y[0]
    };
    let truth = |x: f32| {
        let x = exact(f64::from(x));
        // 2 · √(2/π) to 17 digits, far beyond the bound.
        let t = exact(1.595_769_121_605_730_8) * (&x + exact(0.044_715) * &x * &x * &x);
        &x / (exact(1.0) + (-t).exp())
    };
    let tiny = of_all_exponents().filter(|x| *x < 1.0).flat_map(|x| [x, -x]);
    let arguments = evenly(-12.0, 30.0).map(|x| x as f32).filter(|x| *x != 0.0).chain(tiny);
    let error = |x: f32| {
        distance(&exact(f64::from(gelu(x))), &truth(x)) / f64::from(x.abs().max(1.0))
            * (2.0f64).powi(22)
    };
    let (error, x) = worst(arguments, error);
    println!("gelu: {error:.3} · 2⁻²² at {x:e}");
    assert!(error < 1.0, "{error} at {x:e}");
    assert!(gelu(-1000.0).abs() < 1e-30);
    assert_eq!(gelu(1000.0), 1000.0);
}

#[test]
fn ln_is_within_its_bound() {
    let arguments = evenly(0.5, 2.0)
        .map(|x| x as f32)
        .chain(of_all_exponents())
        .chain(around(1.0))
        .filter(|x| *x != 1.0);
    let (error, x) = worst(arguments, |x| f32_ulps(ln(x), &exact(f64::from(x)).ln()));
    println!("ln: {error:.3} ULP at {x:e}");
    assert!(error < 2.0, "{error} ULP at {x:e}");
    assert_eq!(ln(1.0).to_bits(), 0);
    for x in [0.0, -1.0, f32::INFINITY, f32::NAN, f32::MIN_POSITIVE.next_down()] {
        assert!(ln(x).is_nan(), "{x:e}");
    }
}

#[test]
fn rsqrt_is_within_its_bound() {
    let subnormal = (0..23).map(|i| f32::from_bits(1 << i));
    let arguments = evenly(1.0, 4.0).map(|x| x as f32).chain(of_all_exponents()).chain(subnormal);
    let root = |x: f32| exact(1.0) / dashu_float::ops::SquareRoot::sqrt(&exact(f64::from(x)));
    let (error, x) = worst(arguments, |x| f32_ulps(rsqrt(x), &root(x)));
    println!("rsqrt: {error:.3} ULP at {x:e}");
    assert!(error < 1.5, "{error} ULP at {x:e}");
    assert_eq!(rsqrt(0.0), f32::INFINITY);
    assert_eq!(rsqrt(f32::INFINITY), 0.0);
    assert!(rsqrt(-1.0).is_nan() && rsqrt(f32::NAN).is_nan());
}

#[test]
fn sin_cos_is_within_its_bound() {
    // Multiples of π/2, where one of the two is nearly zero and the reduction loses most.
    let turns = (0..30u32).flat_map(|i| [1u64 << i, (3 << i) / 2, (1 << i) - 1]);
    let turns = turns.map(|n| n as f64 * std::f64::consts::FRAC_PI_2);
    let mut random = Random::new(2, 0);
    let angles = (0..DENSE).map(move |i| {
        // As in a table of rotations: position · frequency, rounded to f32.
        f64::from(random.uniform() * (2.0f32).powi(i as i32 % 30))
    });
    let arguments = evenly(-10.0, 10.0)
        .chain(turns)
        .chain(angles)
        .chain((1..1000).map(|i| (0.5f64).powi(i)))
        .flat_map(|x| [x, -x])
        .filter(|x| x.abs() <= (2.0f64).powi(30) && *x != 0.0);
    let error = |x: f64| {
        let (sin, cos) = exact(x).sin_cos();
        let ours = sin_cos(x);
        distance(&exact(ours.0), &sin).max(distance(&exact(ours.1), &cos)) * (2.0f64).powi(53)
    };
    let (error, x) = worst(arguments, error);
    println!("sin, cos: {error:.3} · 2⁻⁵³ at {x:e}");
    assert!(error < 2.0, "{error} · 2⁻⁵³ at {x:e}");
    assert_eq!(sin_cos(0.0), (0.0, 1.0));
    for x in [(2.0f64).powi(31), -1e300, f64::INFINITY, f64::NAN] {
        assert!(sin_cos(x).0.is_nan() && sin_cos(x).1.is_nan(), "{x:e}");
    }
}

#[test]
fn pow_is_within_its_bound() {
    let mut random = Random::new(3, 0);
    let bases = [1e-300, 0.5, 0.75, 1.0f64.next_up(), 2.0, 10_000.0, 500_000.0, 1e6, 1e8, 1e300];
    let fixed = bases.into_iter().flat_map(|b| (0..=64).map(move |i| (b, -f64::from(i) / 64.0)));
    let mut unit = move || random.uniform();
    let arguments: Vec<(f64, f64)> = fixed
        .chain((0..DENSE / 4).map(|_| {
            let base = (f64::from(unit()) * 40.0 - 20.0).exp2() * (1.0 + f64::from(unit()));
            (base, f64::from(unit()) * 60.0 - 30.0)
        }))
        .filter(|(base, exponent)| (base.ln() * exponent).abs() <= 699.0)
        .collect();
    let error = |(base, exponent): (f64, f64)| {
        let truth = exact(base).powf(&exact(exponent));
        let relative = distance(&exact(pow(base, exponent)), &truth) / truth.to_f64().value();
        let logarithm = (base.ln() * exponent).abs();
        relative * (2.0f64).powi(52) / (1.0 + logarithm)
    };
    let (error, at) = worst(arguments, error);
    println!("pow: {error:.3} · 2⁻⁵² · (1 + |ln|) at {at:?}");
    assert!(error < 2.0, "{error} at {at:?}");
    assert_eq!(pow(1.0, 0.5), 1.0);
    assert_eq!(pow(7.0, 0.0), 1.0);
    for (base, exponent) in [
        (0.0, 1.0),
        (-1.0, 2.0),
        (f64::NAN, 1.0),
        (f64::INFINITY, 1.0),
        (2.0, f64::NAN),
        (2.0, 1100.0),
    ] {
        assert!(pow(base, exponent).is_nan(), "{base}^{exponent}");
    }
}
