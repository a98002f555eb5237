//! Updates by adapters in bf16: every sum in order, in f32.

use super::LowRankRows;
use crate::parallel::Shared;
use crate::simd::{LANES, Simd, kernel};
use std::cell::Cell;

/// Rows that go through their matrices A together, each perhaps through another: a sum in order waits for each of
/// its steps, and several hide that.
const TOGETHER: usize = 4;
/// Vectors of a result that are summed at once.
const VECTORS: usize = 4;

thread_local! {
    static LOW: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// One row of one job.
#[derive(Clone, Copy)]
struct Pair<'a, 'b> {
    row: usize,
    job: &'a LowRankRows<'b>,
}

kernel! {
    /// Some jobs in bf16; shapes were checked by the caller.
    pub(super) fn update<S>(jobs: &[LowRankRows<'_>], x: &[f32], y: &Shared<'_>, stride: usize) {
        let pairs: Vec<Pair<'_, '_>> =
            jobs.iter().flat_map(|job| job.rows.clone().map(move |row| Pair { row, job })).collect();
        let mut low = LOW.take();
        let alike = |a: &Pair<'_, '_>, b: &Pair<'_, '_>| {
            (a.job.shape.inputs(), a.job.shape.width()) == (b.job.shape.inputs(), b.job.shape.width())
        };
        for pairs in pairs.chunk_by(alike).flat_map(|alike| alike.chunks(TOGETHER)) {
            let width = pairs[0].job.shape.width().next_multiple_of(LANES);
            low.resize(TOGETHER * width, 0.0);
            // SAFETY: inside a kernel; the caller checked the shapes and owns the rows of y.
            unsafe {
                match pairs.len() {
                    1 => shrink::<S, 1>(pairs, x, &mut low, width),
                    2 => shrink::<S, 2>(pairs, x, &mut low, width),
                    3 => shrink::<S, 3>(pairs, x, &mut low, width),
                    _ => shrink::<S, TOGETHER>(pairs, x, &mut low, width),
                }
                for (pair, low) in pairs.iter().zip(low.chunks_exact_mut(width)) {
                    expand::<S>(pair, low, y, stride);
                }
            }
        }
        LOW.set(low);
    }
}

/// low [R, width] = x · Aᵀ for R rows.
///
/// # Safety
/// Inside a kernel of S; the bytes of every job are those of its shape, and x holds its rows.
#[inline(always)]
unsafe fn shrink<S: Simd, const R: usize>(
    pairs: &[Pair<'_, '_>],
    x: &[f32],
    low: &mut [f32],
    width: usize,
) {
    let shape = pairs[0].job.shape;
    let (inputs, ranks) = (shape.inputs(), shape.width());
    let rows: [*const f32; R] =
        std::array::from_fn(|i| x[pairs[i].row * inputs..][..inputs].as_ptr());
    for from in (0..ranks).step_by(LANES) {
        // SAFETY: A has `inputs` rows of `ranks` and slack for a vector that reaches into the next row; the
        // lanes beyond the last rank hold nothing of use and are never read.
        unsafe {
            let mut a: [*const u16; R] =
                std::array::from_fn(|i| pairs[i].job.bytes.as_ptr().cast::<u16>().add(from));
            let mut acc = [S::splat(0.0); R];
            for k in 0..inputs {
                for i in 0..R {
                    let x = S::splat(*rows[i].wrapping_add(k));
                    acc[i] = S::fma(x, S::load_bf16(a[i]), acc[i]);
                    a[i] = a[i].wrapping_add(ranks);
                }
            }
            for (i, acc) in acc.into_iter().enumerate() {
                S::store(low[i * width + from..][..LANES].as_mut_ptr(), acc);
            }
        }
    }
}

/// y += scale · weight · low · Bᵀ for one row.
///
/// # Safety
/// Inside a kernel of S; the row of y is the caller's alone and reaches to the last output.
#[inline(always)]
unsafe fn expand<S: Simd>(pair: &Pair<'_, '_>, low: &mut [f32], y: &Shared<'_>, stride: usize) {
    let mut low = low;
    for (site, parts) in pair.job.shape.placed() {
        let (u, rest) = low.split_at_mut(site.rank);
        low = rest;
        let scale = site.scale * pair.job.weight;
        u.iter_mut().for_each(|u| *u *= scale);
        // SAFETY: by the caller's promise.
        let y = unsafe { y.slice(pair.row * stride + site.offset, site.outputs) };
        let b = pair.job.bytes[parts.b..].as_ptr().cast::<u16>();
        for (block, y) in y.chunks_mut(VECTORS * LANES).enumerate() {
            let b = b.wrapping_add(block * VECTORS * LANES);
            // SAFETY: B has `rank` rows of `outputs` and slack for the last vector; chunks are as long as
            // they say.
            unsafe {
                if y.len() == VECTORS * LANES {
                    let mut acc = [S::splat(0.0); VECTORS];
                    for (v, acc) in acc.iter_mut().enumerate() {
                        *acc = S::load(y.as_ptr().add(v * LANES));
                    }
                    let mut b = b;
                    for u in u.iter() {
                        let u = S::splat(*u);
                        for (v, acc) in acc.iter_mut().enumerate() {
                            *acc = S::fma(u, S::load_bf16(b.wrapping_add(v * LANES)), *acc);
                        }
                        b = b.wrapping_add(site.outputs);
                    }
                    for (v, acc) in acc.into_iter().enumerate() {
                        S::store(y.as_mut_ptr().add(v * LANES), acc);
                    }
                } else {
                    for (v, y) in y.chunks_mut(LANES).enumerate() {
                        let whole = y.len() == LANES;
                        let mut acc = if whole {
                            S::load(y.as_ptr())
                        } else {
                            S::load_first(y.as_ptr(), y.len())
                        };
                        let mut b = b.wrapping_add(v * LANES);
                        for u in u.iter() {
                            acc = S::fma(S::splat(*u), S::load_bf16(b), acc);
                            b = b.wrapping_add(site.outputs);
                        }
                        if whole {
                            S::store(y.as_mut_ptr(), acc);
                        } else {
                            S::store_first(y.as_mut_ptr(), y.len(), acc);
                        }
                    }
                }
            }
        }
    }
}
