//! Products with bf16 weights in f32 arithmetic: half the memory, and the exact bits.
//!
//! A bf16 is a f32 whose low half is zero, so widening rounds nothing. A block of weights is widened into
//! the inner cache and goes through the tiles of [`gemm`](crate::gemm), for as many rows as there are; meanwhile
//! the next block comes nearer.

use crate::ahead::{Ahead, Plain, bytes_of};
use crate::gemm::Tile;
use crate::paged_kv::to_bf16;
use crate::parallel::{self, Shared};
use crate::simd::{LANES, kernel};
use crate::{Lhs, Out};
use std::cell::Cell;
use std::ops::Range;

/// Steps of k in one widened block of two panels; fewer for more panels.
const BLOCK_DEPTH: usize = 256;
/// Panels of the widest tile.
const PANELS_MAX: usize = 8;
/// Below this many multiply-adds a product runs on the calling thread.
const PARALLEL_MIN: usize = 1 << 20;

/// Sixteen bf16.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
struct Half([u16; LANES]);

// SAFETY: 32 bytes.
unsafe impl Plain for Half {}

/// Sixteen f32, a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Wide([f32; LANES]);

/// B [depth, columns] in bf16, in panels of sixteen columns as [`PackedMatrix`](crate::PackedMatrix) has them.
#[derive(Clone, Debug)]
pub struct Bf16Panels {
    depth: usize,
    columns: usize,
    panels: Vec<Half>,
}

thread_local! {
    static WIDENED: Cell<Vec<Wide>> = const { Cell::new(Vec::new()) };
}

impl Bf16Panels {
    /// From the transpose [columns, depth], rounded to bf16. Panics if it has another size.
    pub fn from_columns(b: &[f32], depth: usize, columns: usize) -> Self {
        assert!(b.len() == depth * columns, "shape of the weights");
        let mut panels = vec![Half([0; LANES]); columns.div_ceil(LANES) * depth];
        for (j, row) in b.chunks_exact(depth.max(1)).enumerate() {
            let panel = &mut panels[j / LANES * depth..][..depth];
            for (to, x) in panel.iter_mut().zip(row) {
                to.0[j % LANES] = to_bf16(*x);
            }
        }
        Self { depth, columns, panels }
    }

    /// C [m, columns] = A [m, depth] · B, every sum over k in order. While it runs, what is `ahead` is
    /// brought nearer.
    ///
    /// Panics if an operand is too short or A is not given by rows.
    pub fn multiply(&self, m: usize, a: Lhs<'_>, c: Out<'_>, ahead: &Ahead<'_>) {
        let Lhs::Rows { data: a, stride } = a else { panic!("A is given by rows") };
        let (k, n) = (self.depth, self.columns);
        if m == 0 || n == 0 {
            return;
        }
        assert!(k > 0 && stride >= k && a.len() >= (m - 1) * stride + k, "A is too short");
        assert!(c.stride >= n && c.data.len() >= (m - 1) * c.stride + n, "C is too short");
        let (c_stride, shared) = (c.stride, Shared::new(c.data));
        let panels = n.div_ceil(LANES);
        let parts = if m * n * k < PARALLEL_MIN { 1 } else { parallel::threads().min(panels) };
        let part = panels.div_ceil(parts).next_multiple_of(2);
        let parts = panels.div_ceil(part);
        parallel::for_each(parts, |i| {
            let range = i * part..(i * part + part).min(panels);
            multiply_panels(self, m, a, stride, &shared, c_stride, range, ahead.part(i, parts));
        });
    }

    /// The bytes of the block that comes after the one at `k0` of `count` panels, a slice for each panel.
    fn next_block(
        &self,
        panel: usize,
        count: usize,
        k0: usize,
        block: usize,
        panels: &Range<usize>,
    ) -> [&[u8]; PANELS_MAX] {
        let (first, k0) =
            if k0 + block < self.depth { (panel, k0 + block) } else { (panel + count, 0) };
        let mut next = [&[][..]; PANELS_MAX];
        for (next, panel) in next.iter_mut().zip(first..panels.end.min(first + count)) {
            let from = panel * self.depth + k0;
            *next = bytes_of(&self.panels[from..][..block.min(self.depth - k0)]);
        }
        next
    }

    /// Memory it takes.
    pub fn bytes(&self) -> usize {
        self.panels.len() * size_of::<Half>()
    }
}

kernel! {
    /// Some panels of a product. Shapes were checked in `multiply`.
    fn multiply_panels<S>(
        b: &Bf16Panels,
        m: usize,
        a: &[f32],
        stride: usize,
        c: &Shared<'_>,
        c_stride: usize,
        panels: Range<usize>,
        ahead: Ahead<'_>,
    ) {
        let mut ahead = ahead;
        let mut widened = WIDENED.take();
        let widest = S::panels(S::ROWS.min(m));
        let tiles = m.div_ceil(S::ROWS) * panels.len().div_ceil(widest);
        ahead.spread(tiles * b.depth.div_ceil(BLOCK_DEPTH * 2 / widest));
        let mut panel = panels.start;
        while panel < panels.end {
            let mut count = widest;
            while count > panels.end - panel {
                count /= 2;
            }
            let block = BLOCK_DEPTH * 2 / count;
            widened.resize(BLOCK_DEPTH * 2, Wide([0.0; LANES]));
            let columns = (b.columns - panel * LANES).min(count * LANES);
            for k0 in (0..b.depth).step_by(block) {
                let depth = block.min(b.depth - k0);
                for (p, to) in widened.chunks_exact_mut(block).take(count).enumerate() {
                    let from = &b.panels[(panel + p) * b.depth + k0..][..depth];
                    for (to, from) in to.iter_mut().zip(from) {
                        // SAFETY: both are sixteen lanes, inside a kernel.
                        unsafe { S::store(to.0.as_mut_ptr(), S::load_bf16(from.0.as_ptr())) };
                    }
                }
                let next = b.next_block(panel, count, k0, block, &panels);
                let mut own = Ahead::new(&next);
                own.spread(m.div_ceil(S::ROWS));
                for row in (0..m).step_by(S::ROWS) {
                    let soon = [own.walk(depth), ahead.walk(depth)];
                    let tall = S::ROWS.min(m - row);
                    // SAFETY: A and C cover these rows (checked in `multiply`), the widened block `count`
                    // panels of `depth` steps; tasks own disjoint columns of C.
                    unsafe {
                        let tile = Tile {
                            depth,
                            a: a[row * stride + k0..].as_ptr(),
                            row_stride: stride,
                            k_stride: 1,
                            b: widened.as_ptr().cast(),
                            panel_stride: block * LANES,
                            c: c.pointer(row * c_stride + panel * LANES),
                            c_stride,
                            columns,
                            resume: k0 > 0,
                            soon,
                        };
                        S::tile(tall, count, &tile);
                    }
                    own.finish(soon[0].after(depth));
                    ahead.finish(soon[1].after(depth));
                }
            }
            panel += count;
        }
        WIDENED.set(widened);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::on_every_path;
    use crate::{PackedMatrix, Random, Start, gemm};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_product_has_the_bits_of_the_widened_weights(
            m in 1usize..40, k in 1usize..600, n in 1usize..150, seed in any::<u64>()
        ) {
            let mut random = Random::new(seed, 0);
            let mut values = |n: usize| -> Vec<f32> { (0..n).map(|_| random.normal()).collect() };
            let (a, b) = (values(m * k), values(k * n));
            let wide: Vec<f32> = b.iter().map(|x| crate::four_bit::widen(to_bf16(*x))).collect();
            let mut expected = vec![0.0; m * n];
            let lhs = Lhs::Rows { data: &a, stride: k };
            let packed = PackedMatrix::from_columns(&wide, k, n, k);
            gemm(m, lhs, &packed, Out { data: &mut expected, stride: n }, Start::Zero);
            let half = Bf16Panels::from_columns(&b, k, n);
            on_every_path(|level| {
                for threads in [1, 3] {
                    let mut c = vec![f32::NAN; m * n];
                    crate::with_threads(threads, || {
                        half.multiply(m, lhs, Out { data: &mut c, stride: n }, &Ahead::default());
                    });
                    let bits = |c: &[f32]| c.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(&c), bits(&expected), "{level:?} {threads}");
                }
            });
        }
    }
}
