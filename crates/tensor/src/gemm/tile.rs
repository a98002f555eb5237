//! The innermost loop: one tile of C in registers.

use crate::ahead::Walk;
use crate::simd::{LANES, Simd};

/// One tile: up to `rows` × `panels · 16` elements of C over `depth` steps of k.
pub(crate) struct Tile {
    /// Steps of k.
    pub(crate) depth: usize,
    /// A[0, 0] of the tile; A[i, k] at `i · row_stride + k · k_stride`.
    pub(crate) a: *const f32,
    pub(crate) row_stride: usize,
    pub(crate) k_stride: usize,
    /// First panel at its first step of k; panels are `panel_stride` elements apart.
    pub(crate) b: *const f32,
    pub(crate) panel_stride: usize,
    pub(crate) c: *mut f32,
    pub(crate) c_stride: usize,
    /// Columns of C that exist, at most `panels · 16`, more than `(panels − 1) · 16`.
    pub(crate) columns: usize,
    /// Start from C instead of zero.
    pub(crate) resume: bool,
    /// What is brought nearer meanwhile, a line of each at most with each step of k.
    pub(crate) soon: [Walk; 2],
}

/// Runs a tile of `R` rows and `P` panels.
///
/// # Safety
/// All pointers of the tile are valid for its shape, and no other thread writes this part of C.
#[inline(always)]
pub(crate) unsafe fn run_tile<S: Simd, const R: usize, const P: usize>(t: &Tile) {
    // SAFETY: by the caller's promise; the last panel touches only the columns that exist.
    unsafe {
        let full = t.columns == P * LANES;
        let last = t.columns.wrapping_sub((P - 1) * LANES);
        let mut acc = [[S::splat(0.0); P]; R];
        if t.resume {
            for (i, row) in acc.iter_mut().enumerate() {
                for (p, v) in row.iter_mut().enumerate() {
                    let c = t.c.add(i * t.c_stride + p * LANES);
                    *v = if full || p + 1 < P { S::load(c) } else { S::load_first(c, last) };
                }
            }
        }
        if t.row_stride == 1 {
            multiply::<S, R, P>(&mut acc, t, 1, t.k_stride);
        } else {
            multiply::<S, R, P>(&mut acc, t, t.row_stride, 1);
        }
        for (i, row) in acc.iter().enumerate() {
            for (p, v) in row.iter().enumerate() {
                let c = t.c.add(i * t.c_stride + p * LANES);
                if full || p + 1 < P {
                    S::store(c, *v);
                } else {
                    S::store_first(c, last, *v);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn multiply<S: Simd, const R: usize, const P: usize>(
    acc: &mut [[S::V; P]; R],
    t: &Tile,
    row_stride: usize,
    k_stride: usize,
) {
    // SAFETY: as for `run_tile`.
    unsafe {
        let (mut a, mut b, mut soon) = (t.a, t.b, t.soon);
        for _ in 0..t.depth {
            let mut columns = [S::splat(0.0); P];
            for (p, v) in columns.iter_mut().enumerate() {
                *v = S::load(b.add(p.wrapping_mul(t.panel_stride)));
            }
            for (i, row) in acc.iter_mut().enumerate() {
                let x = S::splat(*a.add(i.wrapping_mul(row_stride)));
                for (v, b) in row.iter_mut().zip(columns) {
                    *v = S::fma(x, b, *v);
                }
            }
            a = a.wrapping_add(k_stride);
            b = b.wrapping_add(LANES);
            soon.iter_mut().for_each(Walk::advance);
        }
    }
}
