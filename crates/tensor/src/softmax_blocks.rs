//! The numerators of a softmax over a long row, in blocks: for whoever draws from it, not for whoever differentiates it.
//!
//! A block is 64 elements. Who has the largest element, or the sum, of every block need not look into most blocks again.

use crate::math::exp_lanes;
use crate::reduce::max_lanes;
use crate::simd::{LANES, Simd, kernel};

/// Elements of a block; the last block of a row may have fewer.
pub const SOFTMAX_BLOCK: usize = 64;

kernel! {
    /// The largest element of every block, −∞ for one without a number: NaN counts as less than any.
    ///
    /// Shapes: x [n], maxima [⌈n / 64⌉], overwritten. Panics on another shape.
    pub fn block_maxima<S>(x: &[f32], maxima: &mut [f32]) {
        assert!(maxima.len() == x.len().div_ceil(SOFTMAX_BLOCK), "shape of the maxima");
        for (block, max) in x.chunks(SOFTMAX_BLOCK).zip(maxima) {
            // SAFETY: inside a kernel.
            *max = unsafe { max_lanes::<S>(block) };
        }
    }
}

kernel! {
    /// weightᵢ = e^((xᵢ − shift) · scale) by [`exp`](crate::exp), zero where that is NaN; and the sum of every block.
    ///
    /// Sums are in f64: element i of a block in lane i mod 16, the lanes then added in order. Not for
    /// attribution, which has its own order.
    ///
    /// Shapes: x and weights [n], sums [⌈n / 64⌉], both overwritten. Panics on another shape.
    pub fn block_weights<S>(
        x: &[f32],
        shift: f32,
        scale: f32,
        weights: &mut [f32],
        sums: &mut [f64],
    ) {
        assert!(weights.len() == x.len(), "shape of the weights");
        assert!(sums.len() == x.len().div_ceil(SOFTMAX_BLOCK), "shape of the sums");
        let blocks = x.chunks(SOFTMAX_BLOCK).zip(weights.chunks_mut(SOFTMAX_BLOCK));
        for ((x, weights), sum) in blocks.zip(sums) {
            let mut lanes = [0.0f64; LANES];
            for (x, weights) in x.chunks(LANES).zip(weights.chunks_mut(LANES)) {
                // SAFETY: as many elements as said, inside a kernel.
                unsafe {
                    let x = S::mul(S::sub(load::<S>(x), S::splat(shift)), S::splat(scale));
                    // The second operand is taken where the first is NaN.
                    let e = exp_lanes::<S>(S::max(x, S::splat(f32::NEG_INFINITY)));
                    store_and_add::<S>(e, weights, &mut lanes);
                }
            }
            *sum = lanes.iter().sum();
        }
    }
}

kernel! {
    /// Makes weights below `least` zero; and the sum of every block, as [`block_weights`].
    ///
    /// Shapes: weights [n], sums [⌈n / 64⌉], overwritten. Panics on another shape.
    pub fn block_cut<S>(weights: &mut [f32], least: f32, sums: &mut [f64]) {
        assert!(sums.len() == weights.len().div_ceil(SOFTMAX_BLOCK), "shape of the sums");
        for (weights, sum) in weights.chunks_mut(SOFTMAX_BLOCK).zip(sums) {
            let mut lanes = [0.0f64; LANES];
            for weights in weights.chunks_mut(LANES) {
                // SAFETY: as many elements as said, inside a kernel.
                unsafe {
                    let x = load::<S>(weights);
                    let cut = S::select_less(x, S::splat(least), S::splat(0.0), x);
                    store_and_add::<S>(cut, weights, &mut lanes);
                }
            }
            *sum = lanes.iter().sum();
        }
    }
}

/// At most sixteen elements, zero in the lanes that are left.
#[inline(always)]
unsafe fn load<S: Simd>(x: &[f32]) -> S::V {
    // SAFETY: sixteen elements or their number; the caller is in a kernel.
    unsafe {
        match x.len() {
            LANES => S::load(x.as_ptr()),
            n => S::load_first(x.as_ptr(), n),
        }
    }
}

/// To at most sixteen elements, and onto their lanes.
#[inline(always)]
unsafe fn store_and_add<S: Simd>(v: S::V, to: &mut [f32], lanes: &mut [f64; LANES]) {
    // SAFETY: sixteen elements or their number; the caller is in a kernel.
    unsafe {
        if to.len() == LANES {
            S::store(to.as_mut_ptr(), v);
            let values = S::lanes(v);
            for i in 0..LANES {
                lanes[i] += f64::from(values[i]);
            }
        } else {
            S::store_first(to.as_mut_ptr(), to.len(), v);
            for (lane, value) in lanes.iter_mut().zip(to) {
                *lane += f64::from(*value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{exp, level::on_every_path, random::Random};

    fn row(n: usize) -> Vec<f32> {
        let mut random = Random::new(n as u64, 0);
        let mut x: Vec<f32> = (0..n).map(|_| 30.0 * random.normal()).collect();
        for special in [f32::NAN, f32::NEG_INFINITY] {
            (0..n / 9).for_each(|_| x[random.below(n)] = special);
        }
        x
    }

    #[test]
    fn blocks_are_what_one_element_after_the_other_gives_on_every_path() {
        for n in [0, 1, 15, 16, 17, 63, 64, 65, 128, 1000] {
            let x = row(n);
            on_every_path(|level| {
                let blocks = n.div_ceil(SOFTMAX_BLOCK);
                let (mut maxima, mut sums) = (vec![f32::NAN; blocks], vec![f64::NAN; blocks]);
                let mut weights = vec![f32::NAN; n];
                block_maxima(&x, &mut maxima);
                block_weights(&x, 1.5, 0.7, &mut weights, &mut sums);
                for (block, max) in x.chunks(SOFTMAX_BLOCK).zip(maxima) {
                    let plain = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    assert_eq!(max, plain, "{level:?}, {n}");
                }
                for (x, weight) in x.iter().zip(&weights) {
                    let plain = if x.is_nan() { 0.0 } else { exp((x - 1.5) * 0.7) };
                    assert_eq!(weight.to_bits(), plain.to_bits(), "{level:?}, {n}: {x}");
                }
                for (block, sum) in weights.chunks(SOFTMAX_BLOCK).zip(sums) {
                    let mut lanes = [0.0f64; LANES];
                    for (i, weight) in block.iter().enumerate() {
                        lanes[i % LANES] += f64::from(*weight);
                    }
                    assert_eq!(sum.to_bits(), lanes.iter().sum::<f64>().to_bits(), "{level:?}");
                }
                let (mut cut, mut of_cut) = (weights.clone(), vec![f64::NAN; blocks]);
                block_cut(&mut cut, 0.5, &mut of_cut);
                for (weight, cut) in weights.iter().zip(&cut) {
                    assert_eq!(*cut, if *weight < 0.5 { 0.0 } else { *weight }, "{level:?}, {n}");
                }
                let mut again = cut.clone();
                let mut sums = vec![f64::NAN; blocks];
                block_cut(&mut again, 0.0, &mut sums);
                assert_eq!((again, sums), (cut.clone(), of_cut.clone()), "{level:?}");
                for (block, sum) in cut.chunks(SOFTMAX_BLOCK).zip(of_cut) {
                    let plain: f64 = block.iter().map(|weight| f64::from(*weight)).sum();
                    assert!((sum - plain).abs() <= 1e-12 * plain, "{level:?}, {n}: {sum} {plain}");
                }
            });
        }
    }

    #[test]
    fn the_likeliest_weighs_one_at_any_scale_and_what_is_impossible_nothing() {
        let x = [3.0, f32::NEG_INFINITY, 3.0, f32::NAN, 2.0];
        for scale in [f32::MIN_POSITIVE, 1.0, f32::MAX] {
            let (mut weights, mut sums) = ([0.0; 5], [0.0]);
            block_weights(&x, 3.0, scale, &mut weights, &mut sums);
            assert_eq!([weights[0], weights[1], weights[2], weights[3]], [1.0, 0.0, 1.0, 0.0]);
            assert_eq!(weights[4], exp(-scale));
        }
    }
}
