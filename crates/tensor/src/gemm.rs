//! Matrix products whose elements are summed over k in order.
//!
//! ```text
//! C[m, n] = A[m, k] · B[k, n]           C[i, j] = fma chain over k = 0, 1, …, starting from 0
//! C[m, n] continues with A · B          C[i, j] = the same chain, starting from C[i, j]
//! ```
//!
//! B is packed in panels of sixteen columns, A is read in place. Blocks over k store the tile to C and
//! load it again, which changes no bit; so blocking, threads and tile shapes are free choices.

mod bf16;
mod packed;
mod tile;

pub use bf16::Bf16Matrix;
pub use packed::{PackedMatrix, PackedView};
pub(crate) use tile::{Tile, run_tile};

use crate::ahead::Walk;
use crate::parallel::{self, Shared};
use crate::simd::{LANES, kernel};
use std::cell::RefCell;

/// Depth of one block over k: a pair of panels of this depth fills two thirds of a 48 KiB L1 cache.
const BLOCK_DEPTH: usize = 256;
/// Rows of A in one block, a multiple of every tile height; with [`BLOCK_DEPTH`] a quarter MiB of L2.
const BLOCK_ROWS: usize = 240;
/// Below this many multiply-adds a product runs on the calling thread.
const PARALLEL_MIN: usize = 1 << 20;

/// The left operand A [m, k].
#[derive(Clone, Copy, Debug)]
pub enum Lhs<'a> {
    /// Row-major: A[i, k] at `i · stride + k`.
    Rows {
        /// Elements, at least `(m − 1) · stride + k`.
        data: &'a [f32],
        /// Distance between rows.
        stride: usize,
    },
    /// Transposed: A[i, k] at `k · stride + i`.
    Columns {
        /// Elements, at least `(k − 1) · stride + m`.
        data: &'a [f32],
        /// Distance between columns.
        stride: usize,
    },
}

/// The result C, rows of `stride` elements of which the first n are written.
#[derive(Debug)]
pub struct Out<'a> {
    /// Elements, at least `(m − 1) · stride + n`.
    pub data: &'a mut [f32],
    /// Distance between rows.
    pub stride: usize,
}

/// What happens to the previous content of C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The chain starts from zero.
    Zero,
    /// The chain starts from what C holds.
    Continue,
}

/// C [m, n] = A [m, k] · B [k, n], or C continued with A · B.
///
/// Panics if an operand is too short for its shape.
pub fn gemm<'b>(m: usize, a: Lhs<'_>, b: impl Into<PackedView<'b>>, c: Out<'_>, start: Start) {
    let stride = c.stride;
    let shared = Shared::new(c.data);
    // SAFETY: the result is borrowed for this call alone.
    unsafe { gemm_at(m, a, b.into(), Place { shared: &shared, at: 0, stride }, start) };
}

/// Where a result goes inside a slice that several tasks write.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) shared: &'a Shared<'a>,
    /// Element (0, 0) of C.
    pub(crate) at: usize,
    pub(crate) stride: usize,
}

/// [`gemm`] into a part of a shared slice.
///
/// # Safety
/// No other task touches the m · n elements of C meanwhile.
pub(crate) unsafe fn gemm_at(m: usize, a: Lhs<'_>, b: PackedView<'_>, c: Place<'_>, start: Start) {
    let (k, n) = (b.depth, b.columns);
    if m == 0 || n == 0 {
        return;
    }
    assert!(c.stride >= n && c.shared.len() >= c.at + (m - 1) * c.stride + n, "C is too short");
    if k > 0 {
        match a {
            Lhs::Rows { data, stride } => {
                assert!(stride >= k || m == 1, "rows of A overlap");
                assert!(data.len() >= (m - 1) * stride + k, "A is too short");
            }
            Lhs::Columns { data, stride } => {
                assert!(stride >= m || k == 1, "columns of A overlap");
                assert!(data.len() >= (k - 1) * stride + m, "A is too short");
            }
        }
    }
    let panels = n.div_ceil(LANES);
    let threads = if m * n * k < PARALLEL_MIN { 1 } else { parallel::threads() };
    if threads == 1 {
        gemm_block(a, b, c, start, 0..m, 0..panels);
    } else if m >= 24 * threads {
        // Rows in equal parts, in multiples of the tile height.
        let part = m.div_ceil(threads * m.div_ceil(threads * BLOCK_ROWS)).next_multiple_of(12);
        parallel::for_each(m.div_ceil(part), |i| {
            let rows = i * part..(i * part + part).min(m);
            gemm_block(a, b, c, start, rows, 0..panels);
        });
    } else {
        let part = panels.div_ceil(threads).next_multiple_of(2);
        parallel::for_each(panels.div_ceil(part), |i| {
            let columns = i * part..(i * part + part).min(panels);
            gemm_block(a, b, c, start, 0..m, columns);
        });
    }
}

thread_local! {
    /// A block of a transposed A, copied so that a tile reads it in one stream.
    static TRANSPOSED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

kernel! {
    /// One task of [`gemm_at`]: a range of rows of C by a range of panels. Shapes were checked there.
    fn gemm_block<S>(
        a: Lhs<'_>,
        b: PackedView<'_>,
        c: Place<'_>,
        start: Start,
        rows: std::ops::Range<usize>,
        panels: std::ops::Range<usize>,
    ) {
        let (k, n) = (b.depth, b.columns);
        if k == 0 {
            if start == Start::Zero {
                for i in rows {
                    let from = panels.start * LANES;
                    let width = (panels.end * LANES).min(n) - from;
                    // SAFETY: tasks own disjoint ranges of C; bounds checked in `gemm_at`.
                    unsafe { c.shared.slice(c.at + i * c.stride + from, width) }.fill(0.0);
                }
            }
            return;
        }
        let mut copy = TRANSPOSED.take();
        let mut k0 = 0;
        while k0 < k {
            let depth = BLOCK_DEPTH.min(k - k0);
            let resume = k0 > 0 || start == Start::Continue;
            let mut row_block = rows.start;
            while row_block < rows.end {
                let height = BLOCK_ROWS.min(rows.end - row_block);
                let (a_data, row_stride, k_stride, tile_stride) = match a {
                    Lhs::Columns { data, stride } => {
                        copy.resize(height.next_multiple_of(S::ROWS) * depth, 0.0);
                        let blocks = copy.chunks_exact_mut(S::ROWS * depth);
                        for (to, i) in blocks.zip((row_block..).step_by(S::ROWS)) {
                            let tall = S::ROWS.min(row_block + height - i);
                            for (to, kk) in to.chunks_exact_mut(S::ROWS).zip(k0..) {
                                let column = &data[kk * stride + i..][..tall];
                                if tall == S::ROWS {
                                    to.copy_from_slice(&column[..S::ROWS]);
                                } else {
                                    to[..tall].copy_from_slice(column);
                                }
                            }
                        }
                        (copy.as_ptr(), 1, S::ROWS, S::ROWS * depth)
                    }
                    Lhs::Rows { data, stride } => {
                        (data[row_block * stride + k0..].as_ptr(), stride, 1, stride * S::ROWS)
                    }
                };
                let wide = S::panels(S::ROWS.min(height));
                let mut panel = panels.start;
                while panel < panels.end {
                    let mut count = wide;
                    while count > panels.end - panel {
                        count /= 2;
                    }
                    let valid = (n - panel * LANES).min(count * LANES);
                    for (t, i) in (0..height).step_by(S::ROWS).enumerate() {
                        let tall = S::ROWS.min(height - i);
                        let row = row_block + i;
                        // SAFETY: A covers `tall` rows and `depth` columns from here (checked in
                        // `gemm_at`, or copied above); the panels exist; tasks own disjoint tiles of C.
                        unsafe {
                            let tile = Tile {
                                depth,
                                a: a_data.wrapping_add(t * tile_stride),
                                row_stride,
                                k_stride,
                                b: b.matrix.panel(panel).add(k0 * LANES),
                                panel_stride: b.matrix.panel_stride(),
                                c: c.shared.pointer(c.at + row * c.stride + panel * LANES),
                                c_stride: c.stride,
                                columns: valid,
                                resume,
                                soon: [Walk::nowhere(); 2],
                            };
                            S::tile(tall, count, &tile);
                        }
                    }
                    panel += count;
                }
                row_block += height;
            }
            k0 += depth;
        }
        TRANSPOSED.set(copy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SimdLevel, random::Random};
    use proptest::prelude::*;

    /// The definition, element by element.
    fn reference(m: usize, k: usize, n: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
        for i in 0..m {
            for j in 0..n {
                for kk in 0..k {
                    c[i * n + j] = a[i * k + kk].mul_add(b[kk * n + j], c[i * n + j]);
                }
            }
        }
    }

    fn random(n: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed, 0);
        (0..n).map(|_| random.normal()).collect()
    }

    fn transpose(rows: usize, columns: usize, x: &[f32]) -> Vec<f32> {
        (0..rows * columns).map(|i| x[(i % rows) * columns + i / rows]).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn every_path_and_layout_gives_the_bits_of_the_definition(
            m in 1usize..40, k in 0usize..300, n in 1usize..70, seed in any::<u64>()
        ) {
            let (a, b) = (random(m * k, seed), random(k * n, seed ^ 1));
            let before = random(m * n, seed ^ 2);
            let (a_columns, b_columns) = (transpose(m, k, &a), transpose(k, n, &b));
            let mut zero = vec![0.0; m * n];
            reference(m, k, n, &a, &b, &mut zero);
            let mut continued = before.clone();
            reference(m, k, n, &a, &b, &mut continued);
            let packed = [PackedMatrix::from_rows(&b, k, n, n), PackedMatrix::from_columns(&b_columns, k, n, k)];
            for level in SimdLevel::available() {
                level.force();
                for b in &packed {
                    for lhs in [Lhs::Rows { data: &a, stride: k }, Lhs::Columns { data: &a_columns, stride: m }] {
                        let mut c = before.clone();
                        gemm(m, lhs, b, Out { data: &mut c, stride: n }, Start::Zero);
                        prop_assert_eq!(&c, &zero);
                        let mut c = before.clone();
                        gemm(m, lhs, b, Out { data: &mut c, stride: n }, Start::Continue);
                        prop_assert_eq!(&c, &continued);
                    }
                }
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        for (m, k, n) in [(300, 64, 80), (3, 600, 700)] {
            let (a, b) = (random(m * k, 3), random(k * n, 4));
            let b = PackedMatrix::from_rows(&b, k, n, n);
            let results = [1, 2, 4].map(|threads| {
                let mut c = vec![0.0; m * n];
                crate::with_threads(threads, || {
                    gemm(
                        m,
                        Lhs::Rows { data: &a, stride: k },
                        &b,
                        Out { data: &mut c, stride: n },
                        Start::Zero,
                    );
                });
                c
            });
            assert!(results[0] == results[1] && results[1] == results[2]);
        }
    }
}
