//! Inputs in eight bits.

use super::GROUP;
use crate::FOUR_BIT_GROUP;
use crate::parallel::{Shared, for_rows};
use crate::simd::{LANES, Simd, kernel};
use std::ops::Range;

/// Rows are padded with zeros to whole vectors of bytes.
const PADDED: usize = 64;
/// Largest magnitude of a code.
const CODE_MAX: f32 = 127.0;

/// Rows [rows, depth] as codes −127..=127, with one scale for each group of 256.
#[derive(Clone, Debug, Default)]
pub struct Int8Rows {
    rows: usize,
    depth: usize,
    stride: usize,
    codes: Vec<i8>,
    /// [rows][groups].
    scales: Vec<f32>,
    /// Sums of the codes of 32, [rows][depth / 32]: what the offset of unsigned weights adds.
    sums: Vec<i32>,
    /// The same of each group of 256, [rows][groups].
    group_sums: Vec<i32>,
}

impl Int8Rows {
    /// Quantises row-major x [rows, depth]. Panics if x has another size.
    pub fn set(&mut self, x: &[f32], rows: usize, depth: usize) {
        assert!(x.len() == rows * depth && depth > 0, "shape of the inputs");
        (self.rows, self.depth, self.stride) = (rows, depth, depth.next_multiple_of(PADDED));
        self.codes.resize(rows * self.stride, 0);
        self.scales.resize(rows * self.groups(), 0.0);
        self.sums.resize(rows * self.sums_of_row(), 0);
        self.group_sums.resize(rows * self.groups(), 0);
        let (stride, groups, sums) = (self.stride, self.groups(), self.sums_of_row());
        let codes = SharedCodes(self.codes.as_mut_ptr());
        let (scales, sums_at) = (Shared::new(&mut self.scales), SharedSums(self.sums.as_mut_ptr()));
        for_rows(rows, 64, |range| {
            for i in range {
                // SAFETY: every row belongs to one task, and the buffers were sized for all rows.
                let (codes, scales, sums) = unsafe {
                    (
                        std::slice::from_raw_parts_mut(codes.at(i * stride), stride),
                        scales.slice(i * groups, groups),
                        std::slice::from_raw_parts_mut(sums_at.at(i * sums), sums),
                    )
                };
                quantise_row(&x[i * depth..][..depth], codes, scales, sums);
            }
        });
        let rows = self.sums.chunks_exact(sums).zip(self.group_sums.chunks_exact_mut(groups));
        for (sums, totals) in rows {
            for (sums, total) in sums.chunks(GROUP / FOUR_BIT_GROUP).zip(totals) {
                *total = sums.iter().sum();
            }
        }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// What the codes stand for, [rows, depth].
    pub fn widen(&self) -> Vec<f32> {
        let value = |i: usize| {
            let (row, k) = (i / self.depth, i % self.depth);
            f32::from(self.codes[row * self.stride + k]) * self.scale(row, k / GROUP)
        };
        (0..self.rows * self.depth).map(value).collect()
    }

    pub(crate) fn groups(&self) -> usize {
        self.depth.div_ceil(GROUP)
    }

    fn sums_of_row(&self) -> usize {
        self.stride / FOUR_BIT_GROUP
    }

    pub(crate) fn codes(&self, row: usize) -> &[i8] {
        &self.codes[row * self.stride..][..self.stride]
    }

    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    pub(crate) fn scale(&self, row: usize, group: usize) -> f32 {
        self.scales[row * self.groups() + group]
    }

    /// Sum of the codes of group `block` of 32.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn sum_of_32(&self, row: usize, block: usize) -> i32 {
        self.sums[row * self.sums_of_row() + block]
    }

    /// Sum of the codes of a group of 256.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn sum(&self, row: usize, group: usize) -> i32 {
        self.group_sums[row * self.groups() + group]
    }
}

struct SharedCodes(*mut i8);
struct SharedSums(*mut i32);
// SAFETY: rows are disjoint, and each is written by one task.
unsafe impl Sync for SharedCodes {}
// SAFETY: as above.
unsafe impl Sync for SharedSums {}

impl SharedCodes {
    fn at(&self, i: usize) -> *mut i8 {
        self.0.wrapping_add(i)
    }
}

impl SharedSums {
    fn at(&self, i: usize) -> *mut i32 {
        self.0.wrapping_add(i)
    }
}

kernel! {
    /// One row. A value that is not finite makes its group's scale so, and with it the result.
    fn quantise_row<S>(x: &[f32], codes: &mut [i8], scales: &mut [f32], sums: &mut [i32]) {
        codes[x.len()..].fill(0);
        for ((x, codes), scale) in x.chunks(GROUP).zip(codes.chunks_mut(GROUP)).zip(scales) {
            // SAFETY: inside a kernel.
            let largest = unsafe { largest::<S>(x) };
            *scale = largest / CODE_MAX;
            // Zeros, numbers too small to have a scale, and what is not finite have codes of zero.
            let inverse = CODE_MAX / largest;
            let inverse = if inverse.is_finite() { inverse } else { 0.0 };
            let (whole, rest) = x.as_chunks::<LANES>();
            let (codes, last) = codes[..x.len()].split_at_mut(whole.len() * LANES);
            for (codes, x) in codes.as_chunks_mut::<LANES>().0.iter_mut().zip(whole) {
                // SAFETY: inside a kernel, sixteen of each.
                unsafe {
                    let steps = S::round(S::mul(S::load(x.as_ptr()), S::splat(inverse)));
                    S::store_i8(codes.as_mut_ptr(), steps);
                }
            }
            for (code, x) in last.iter_mut().zip(rest) {
                // In range: |x| ≤ largest; the conversion saturates and makes NaN zero.
                *code = (x * inverse).round_ties_even() as i8;
            }
        }
        for (sum, codes) in sums.iter_mut().zip(codes.as_chunks::<FOUR_BIT_GROUP>().0) {
            // SAFETY: inside a kernel, 32 bytes.
            *sum = unsafe { S::sum_i8(codes.as_ptr()) };
        }
    }
}

/// Largest magnitude; NaN if there is one.
///
/// # Safety
/// Inside a kernel of S.
#[inline(always)]
unsafe fn largest<S: Simd>(x: &[f32]) -> f32 {
    let (whole, rest) = x.as_chunks::<LANES>();
    // SAFETY: inside a kernel, sixteen lanes each.
    let (largest, finite) = unsafe {
        let zero = S::splat(0.0);
        // Two of each, since every step waits for the one before.
        let (mut largest, mut poison) = ([zero; 2], [zero; 2]);
        for (i, x) in whole.iter().enumerate() {
            let x = S::load(x.as_ptr());
            largest[i % 2] = S::max(S::max(x, S::sub(zero, x)), largest[i % 2]);
            // Zero as long as everything is finite.
            poison[i % 2] = S::fma(x, zero, poison[i % 2]);
        }
        let poison = S::sum(S::add(poison[0], poison[1]));
        (S::largest(S::max(largest[0], largest[1])), poison == 0.0)
    };
    let keep = |a: f32, x: &f32| if x.abs() > a || x.is_nan() { x.abs() } else { a };
    rest.iter().chain(if finite { &[] } else { x }).fold(largest, keep)
}

/// The part of the groups that a range of k covers is fixed; see [`GROUP`].
pub(super) fn group_range(depth: usize, group: usize) -> Range<usize> {
    group * GROUP..depth.min((group + 1) * GROUP)
}
