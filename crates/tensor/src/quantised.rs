//! Products of few bits: weights in eight or four, inputs in eight, sums in integers.
//!
//! ```text
//! x [rows, depth] ─▶ Int8Rows: codes −127..=127, a scale for each group of 256
//! y = Σ over groups, in order, of (Σ codes · codes, exact) · weight scale · input scale
//! ```
//!
//! The integer sums have one value whatever their order, and the few float operations after them are fixed, so
//! every path gives the same bits here too.
//!
//! **Invariant:** a row of the result depends on that row and the weights alone.

mod four_bit;
mod int8;
mod portable;
mod rows;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use four_bit::FourBitPanels;
pub use int8::Int8Matrix;
pub use rows::Int8Rows;

use crate::Out;
use crate::ahead::{Ahead, Plain};
#[cfg(target_arch = "x86_64")]
use crate::level::SimdLevel;
use crate::parallel::{self, Shared};
use crate::simd::LANES;
use std::ops::Range;

/// Inputs that share a scale, of rows and of the weights of [`Int8Matrix`].
pub(crate) const GROUP: usize = 256;
/// Steps of k in one integer of sixteen columns.
const QUAD: usize = 4;
/// Below this many multiply-adds a product runs on the calling thread.
const PARALLEL_MIN: usize = 1 << 21;

/// Sixteen columns of four steps of k, a byte each; a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; LANES * QUAD]);

// SAFETY: 64 bytes.
unsafe impl Plain for Line {}

/// Which instructions multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    #[cfg(target_arch = "x86_64")]
    Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Path {
    pub(crate) fn current() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let level = SimdLevel::current();
            if level == SimdLevel::Avx512
                && is_x86_feature_detected!("avx512vnni")
                && is_x86_feature_detected!("avx512bw")
            {
                return Self::Vnni;
            }
            if level >= SimdLevel::Avx2 {
                return Self::Avx2;
            }
        }
        Self::Portable
    }
}

/// A product under way: what a task needs besides its panels.
#[derive(Clone, Copy)]
struct Job<'a> {
    rows: &'a Int8Rows,
    columns: usize,
    c: &'a Shared<'a>,
    c_stride: usize,
}

/// Runs `task` on ranges of panels of sixteen columns, on several threads where the product is large.
///
/// While it runs, what is `ahead` is brought nearer, each task its part.
fn over_panels(
    rows: &Int8Rows,
    columns: usize,
    out: Out<'_>,
    ahead: &Ahead<'_>,
    task: impl Fn(Job<'_>, Range<usize>, Ahead<'_>) + Sync + Send,
) {
    if rows.rows() == 0 || columns == 0 {
        return;
    }
    assert!(
        out.stride >= columns && out.data.len() >= (rows.rows() - 1) * out.stride + columns,
        "C is too short"
    );
    let (c_stride, c) = (out.stride, Shared::new(out.data));
    let job = Job { rows, columns, c: &c, c_stride };
    let panels = columns.div_ceil(LANES);
    let large = rows.rows() * columns * rows.depth() >= PARALLEL_MIN;
    let parts = if large { parallel::threads().min(panels) } else { 1 };
    let part = panels.div_ceil(parts).next_multiple_of(2);
    let parts = panels.div_ceil(part);
    parallel::for_each(parts, |i| {
        task(job, i * part..(i * part + part).min(panels), ahead.part(i, parts));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::on_every_path;
    use crate::{FourBitMatrix, Random};
    use proptest::prelude::*;

    fn random(n: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed, 0);
        (0..n).map(|_| random.normal()).collect()
    }

    fn rows(x: &[f32], m: usize, k: usize) -> Int8Rows {
        let mut rows = Int8Rows::default();
        rows.set(x, m, k);
        rows
    }

    /// Runs a product on every path, alone and in threads; all must have the same bits.
    fn same_everywhere(n: usize, m: usize, product: impl Fn(Out<'_>) + Sync) -> Vec<f32> {
        let mut first: Option<Vec<f32>> = None;
        on_every_path(|level| {
            for threads in [1, 3] {
                let mut c = vec![f32::NAN; m * (n + 3)];
                crate::with_threads(threads, || product(Out { data: &mut c, stride: n + 3 }));
                let bits = |c: &[f32]| c.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                let first = first.get_or_insert_with(|| c.clone());
                assert!(bits(first) == bits(&c), "{level:?} with {threads} threads differs");
                assert!(c.chunks(n + 3).all(|row| row[n..].iter().all(|x| x.is_nan())));
            }
        });
        let all = first.expect("at least the scalar path");
        all.chunks(n + 3).flat_map(|row| &row[..n]).copied().collect()
    }

    /// The product of what codes stand for in f64, and the size of its terms.
    fn check(c: &[f32], x: &[f32], w: &[f32], (m, k, n): (usize, usize, usize)) {
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let terms = x[i * k..][..k].iter().zip(&w[j * k..][..k]);
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), (x, w)| {
                let term = f64::from(*x) * f64::from(*w);
                (sum + term, size + f64::abs(term))
            });
            let error = (f64::from(c[i * n + j]) - sum).abs();
            assert!(error <= 1e-6 * size + 1e-12, "{i} {j}: {error} of {size}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn products_of_codes_are_those_of_what_they_stand_for_on_every_path(
            m in 1usize..40, k in 1usize..700, n in 1usize..150, seed in any::<u64>()
        ) {
            let (x, w) = (random(m * k, seed), random(n * k, seed ^ 1));
            let rows = rows(&x, m, k);
            let wide = rows.widen();
            let eight = Int8Matrix::quantise(&w, k, n);
            let ahead: [&[u8]; 1] = [&[0; 10_000]];
            let c = same_everywhere(n, m, |out| eight.multiply(&rows, out, &Ahead::new(&ahead)));
            check(&c, &wide, &eight.widen(), (m, k, n));
            let four = FourBitMatrix::quantise(&w, n, k);
            let panels = FourBitPanels::from(&four);
            let c = same_everywhere(n, m, |out| panels.multiply(&rows, out, &Ahead::new(&ahead)));
            let mut kept = Vec::new();
            four.dequantise(&mut kept);
            check(&c, &wide, &kept, (m, k, n));
        }
    }

    #[test]
    fn large_products_are_divided_among_threads() {
        let (m, k, n) = (13, 513, 700);
        let rows = rows(&random(m * k, 1), m, k);
        let eight = Int8Matrix::quantise(&random(n * k, 2), k, n);
        let c = same_everywhere(n, m, |out| eight.multiply(&rows, out, &Ahead::default()));
        check(&c, &rows.widen(), &eight.widen(), (m, k, n));
    }

    #[test]
    fn a_row_is_quantised_alone_and_within_half_a_step() {
        let (m, k) = (5, 600);
        let mut x = random(m * k, 3);
        x[k..2 * k].fill(0.0);
        x[2 * k] = 1e30;
        let all = rows(&x, m, k);
        for i in 0..m {
            let alone = rows(&x[i * k..][..k], 1, k);
            assert_eq!(alone.widen(), all.widen()[i * k..][..k]);
        }
        for (group, kept) in x
            .chunks(k)
            .zip(all.widen().chunks(k))
            .flat_map(|(x, kept)| x.chunks(GROUP).zip(kept.chunks(GROUP)).collect::<Vec<_>>())
        {
            let largest = group.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            for (x, kept) in group.iter().zip(kept) {
                assert!((x - kept).abs() <= largest / 127.0 * 0.501, "{x} {kept}");
            }
        }
    }

    #[test]
    fn the_extremes_do_not_overflow() {
        // Every code at its largest, over the longest input a model may have.
        let k = 1 << 16;
        for (x, w) in [(1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0)] {
            let rows = rows(&vec![x; k], 1, k);
            let eight = Int8Matrix::quantise(&vec![w; k], k, 1);
            let c = same_everywhere(1, 1, |out| eight.multiply(&rows, out, &Ahead::default()));
            assert!((c[0] - x * w * k as f32).abs() < 0.1, "{}", c[0]);
        }
    }

    #[test]
    fn a_value_that_is_not_finite_shows_in_its_row_alone() {
        let mut x = vec![1.0; 3 * 40];
        (x[0], x[40]) = (f32::NAN, f32::INFINITY);
        let rows = rows(&x, 3, 40);
        let eight = Int8Matrix::quantise(&[1.0; 40], 40, 1);
        let c = same_everywhere(1, 3, |out| eight.multiply(&rows, out, &Ahead::default()));
        assert!(!c[0].is_finite() && !c[1].is_finite() && (c[2] - 40.0).abs() < 1e-4, "{c:?}");
    }
}
