//! Updates by adapters in eight bits: sums in integers.
//!
//! u is taken in fifteen bits, as 128 · high + low with both parts in eight, so that one instruction multiplies
//! it with codes of B too, and hardly anything of it is lost.

use super::LowRankRows;
use super::shape::{OFFSET, QUAD, get_f32};
use crate::Int8Rows;
use crate::parallel::Shared;
use crate::quantised::{GROUP, Path};
use crate::simd::LANES;
use std::cell::RefCell;

/// u is 128 · high + low.
pub(super) const SHIFT: u32 = 7;
/// Largest magnitude of u in steps: high stays within ±127.
pub(super) const U_MAX: f32 = 16_256.0;

/// The low-rank state of one row at one site.
#[derive(Default)]
pub(super) struct Low {
    /// Σ over the groups of inputs, in order, of (sum of codes · codes, exact) · scale of x; one for each rank.
    pub(super) u: Vec<f32>,
    /// Parts of u in steps of `step`, padded with zeros to whole quads.
    pub(super) high: Vec<i8>,
    pub(super) low: Vec<i8>,
    pub(super) step: f32,
    /// 128 · Σ high + Σ low, times the offset of the codes of B.
    pub(super) offset: i32,
}

thread_local! {
    static LOW: RefCell<Low> = RefCell::default();
}

/// Some jobs in eight bits; shapes were checked by the caller, who owns the rows of y.
pub(super) fn update(jobs: &[LowRankRows<'_>], x: &Int8Rows, y: &Shared<'_>, stride: usize) {
    let path = Path::current();
    LOW.with_borrow_mut(|low| {
        for job in jobs {
            let (bytes, inputs) = (job.bytes, job.shape.inputs());
            for (site, parts) in job.shape.placed() {
                let (a, b) = (&bytes[parts.a..], &bytes[parts.b..]);
                let (u_scales, b_scales) = (&bytes[parts.u_scales..], &bytes[parts.b_scales..]);
                for row in job.rows.clone() {
                    low.u.clear();
                    low.u.resize(site.rank, 0.0);
                    // SAFETY: the rows of y are the caller's alone.
                    let y = unsafe { y.slice(row * stride + site.offset, site.outputs) };
                    match path {
                        // SAFETY: `current` looked for the instructions; A has `rank` padded rows, and B and
                        // its scales cover y.
                        #[cfg(target_arch = "x86_64")]
                        Path::Vnni => unsafe {
                            super::x86::shrink_vnni(a, x, row, &mut low.u);
                            super::x86::split_vnni(low, u_scales, job.weight);
                            super::x86::expand_vnni(low, b, b_scales, y);
                        },
                        // SAFETY: as above.
                        #[cfg(target_arch = "x86_64")]
                        Path::Avx2 => unsafe {
                            super::x86::shrink_avx2(a, x, row, &mut low.u);
                            low.split(u_scales, job.weight);
                            super::x86::expand_avx2(low, b, b_scales, y);
                        },
                        Path::Portable => {
                            shrink(a, inputs, x, row, &mut low.u);
                            low.split(u_scales, job.weight);
                            expand(low, b, b_scales, y);
                        }
                    }
                }
            }
        }
    });
}

impl Low {
    /// u times its scales and the weight, in two parts.
    pub(super) fn split(&mut self, u_scales: &[u8], weight: f32) {
        for (r, u) in self.u.iter_mut().enumerate() {
            *u = *u * get_f32(u_scales, 4 * r) * weight;
        }
        let keep = |a: f32, u: &f32| if u.abs() > a || u.is_nan() { u.abs() } else { a };
        let largest = self.u.iter().fold(0.0, keep);
        self.step = largest / U_MAX;
        // Zeros, numbers too small to have a step, and what is not finite are taken as zero.
        let inverse = U_MAX / largest;
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        let padded = self.u.len().next_multiple_of(QUAD);
        self.high.clear();
        self.high.resize(padded, 0);
        self.low.clear();
        self.low.resize(padded, 0);
        let mut total = 0;
        for ((high, low), u) in self.high.iter_mut().zip(&mut self.low).zip(&self.u) {
            // Within ±16,256 by the choice of the step; the conversion saturates and makes NaN zero.
            let steps = ((u * inverse).round_ties_even() as i32).clamp(-16_256, 16_256);
            total += steps;
            let upper = (steps + 64) >> SHIFT;
            *high = upper as i8;
            *low = (steps - (upper << SHIFT)) as i8;
        }
        self.offset = OFFSET * total;
    }
}

/// u = codes of one row of x · codes of A.
fn shrink(a: &[u8], inputs: usize, x: &Int8Rows, row: usize, u: &mut [f32]) {
    let codes = &x.codes(row)[..inputs];
    for (a, u) in a.chunks_exact(x.stride()).zip(u) {
        for (group, (a, codes)) in a[..inputs].chunks(GROUP).zip(codes.chunks(GROUP)).enumerate() {
            let terms = a.iter().zip(codes).map(|(a, c)| (i32::from(*a) - OFFSET) * i32::from(*c));
            *u = (terms.sum::<i32>() as f32).mul_add(x.scale(row, group), *u);
        }
    }
}

/// y += u · Bᵀ.
fn expand(low: &Low, b: &[u8], scales: &[u8], y: &mut [f32]) {
    let block_bytes = low.high.len() * LANES;
    for (block, y) in y.chunks_mut(LANES).enumerate() {
        let b = &b[block * block_bytes..][..block_bytes];
        let scale = get_f32(scales, 4 * block);
        for (lane, y) in y.iter_mut().enumerate() {
            let mut sum = -low.offset;
            for (r, (high, small)) in low.high.iter().zip(&low.low).enumerate() {
                let steps = (i32::from(*high) << SHIFT) + i32::from(*small);
                sum += steps * i32::from(b[r / QUAD * LANES * QUAD + lane * QUAD + r % QUAD]);
            }
            *y = (sum as f32 * scale).mul_add(low.step, *y);
        }
    }
}
