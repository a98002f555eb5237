//! How the low-rank matrices of one input lie in memory.
//!
//! ```text
//! bf16: Aᵀ of all sites [inputs][width] │ for each site Bᵀ [rank][outputs]
//! int8: for each site: scales of u [rank] │ A [rank][inputs, padded to 64] │ scales of B [blocks] │ B [blocks][quads][16][4]
//! ```
//!
//! Parts begin at multiples of 64 bytes; every number is little-endian.

use crate::four_bit::widen;
use crate::paged_kv::to_bf16;
use crate::simd::LANES;
use std::ops::Range;

/// Parts begin at multiples of this many bytes.
const ALIGNED: usize = 64;
/// Vectors may be read this far beyond the end of a part in bf16.
const SLACK: usize = 32;
/// Ranks in one integer of sixteen outputs.
pub(super) const QUAD: usize = 4;
/// Added to codes of A and B, so that they are unsigned.
pub(super) const OFFSET: i32 = 128;
const CODE_MAX: f32 = 127.0;
/// Bits of a bf16 that are all set where it is not finite.
const BF16_EXPONENT: u16 = 0x7f80;

/// How an adapter is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LowRankForm {
    /// As it is stored: nothing is lost.
    Bf16,
    /// In eight bits: half the memory.
    Int8,
}

/// One linear layer of those that share an input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LowRankSite {
    /// Rows of A, at least 1.
    pub rank: usize,
    /// First column of the result.
    pub offset: usize,
    /// Columns of the result.
    pub outputs: usize,
    /// The update is multiplied by it.
    pub scale: f32,
}

/// The low-rank matrices of the linear layers that share an input.
#[derive(Clone, Debug, PartialEq)]
pub struct LowRankShape {
    form: LowRankForm,
    inputs: usize,
    sites: Vec<LowRankSite>,
    /// Where each site's parts begin; in bf16 A of all sites begins at 0.
    parts: Vec<Parts>,
    bytes: usize,
}

/// Where the parts of a site are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Parts {
    pub(super) u_scales: usize,
    pub(super) a: usize,
    pub(super) b_scales: usize,
    pub(super) b: usize,
}

impl LowRankShape {
    /// Lays out the sites. Panics if one has rank 0.
    pub fn new(form: LowRankForm, inputs: usize, sites: &[LowRankSite]) -> Self {
        assert!(sites.iter().all(|s| s.rank > 0), "a site of rank 0");
        let mut at = 0usize;
        let mut take = |bytes: usize| {
            let start = at;
            at += bytes.next_multiple_of(ALIGNED);
            start
        };
        let mut parts = Vec::with_capacity(sites.len());
        if form == LowRankForm::Bf16 && !sites.is_empty() {
            take(2 * inputs * sites.iter().map(|s| s.rank).sum::<usize>() + SLACK);
        }
        for site in sites {
            let blocks = site.outputs.div_ceil(LANES);
            parts.push(match form {
                LowRankForm::Bf16 => {
                    Parts { b: take(2 * site.rank * site.outputs + SLACK), ..Parts::default() }
                }
                LowRankForm::Int8 => Parts {
                    u_scales: take(4 * site.rank),
                    a: take(site.rank * inputs.next_multiple_of(ALIGNED)),
                    b_scales: take(4 * blocks),
                    b: take(blocks * site.rank.div_ceil(QUAD) * LANES * QUAD),
                },
            });
        }
        Self { form, inputs, sites: sites.to_vec(), parts, bytes: at }
    }

    /// How the matrices are kept.
    pub fn form(&self) -> LowRankForm {
        self.form
    }

    /// Columns of A.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The sites.
    pub fn sites(&self) -> &[LowRankSite] {
        &self.sites
    }

    /// Bytes the matrices take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where in the packed bytes B of each site begins, `[rank][outputs]` in bf16; A of all sites,
    /// `[inputs][their ranks]`, begins at 0. Another decoder that takes the bytes as they are needs to know. `None` in eight bits.
    pub fn bf16_places(&self) -> Option<impl Iterator<Item = (&LowRankSite, usize)>> {
        let places = self.placed().map(|(site, parts)| (site, parts.b));
        (self.form == LowRankForm::Bf16).then_some(places)
    }

    /// The column after the last that a site writes.
    pub(super) fn outputs_end(&self) -> usize {
        self.sites.iter().map(|s| s.offset + s.outputs).max().unwrap_or(0)
    }

    /// Ranks of all sites.
    pub(super) fn width(&self) -> usize {
        self.sites.iter().map(|s| s.rank).sum()
    }

    /// Each site with its parts.
    pub(super) fn placed(&self) -> impl Iterator<Item = (&LowRankSite, Parts)> {
        self.sites.iter().zip(self.parts.iter().copied())
    }

    /// Packs for each site A [rank, inputs] and Bᵀ [rank, outputs].
    ///
    /// Panics if a matrix has another size or `to` another length.
    pub fn pack(&self, matrices: &[(&[f32], &[f32])], to: &mut [u8]) {
        assert!(matrices.len() == self.sites.len() && to.len() == self.bytes, "sites to pack");
        to.fill(0);
        let mut column = 0;
        for ((site, parts), (a, b)) in self.placed().zip(matrices) {
            assert!(a.len() == site.rank * self.inputs, "shape of A");
            assert!(b.len() == site.rank * site.outputs, "shape of B");
            match self.form {
                LowRankForm::Bf16 => {
                    let width = self.width();
                    for (r, row) in a.chunks_exact(self.inputs).enumerate() {
                        for (k, x) in row.iter().enumerate() {
                            put_bf16(to, 2 * (k * width + column + r), *x);
                        }
                    }
                    for (i, x) in b.iter().enumerate() {
                        put_bf16(to, parts.b + 2 * i, *x);
                    }
                    column += site.rank;
                }
                LowRankForm::Int8 => self.pack_int8(site, parts, a, b, to),
            }
        }
    }

    fn pack_int8(&self, site: &LowRankSite, parts: Parts, a: &[f32], b: &[f32], to: &mut [u8]) {
        let stride = self.inputs.next_multiple_of(ALIGNED);
        let rank_scales: Vec<f32> = b.chunks_exact(site.outputs).map(largest).collect();
        let (blocks, quads) = (site.outputs.div_ceil(LANES), site.rank.div_ceil(QUAD));
        to[parts.a..][..site.rank * stride].fill(OFFSET as u8);
        to[parts.b..][..blocks * quads * LANES * QUAD].fill(OFFSET as u8);
        for (r, row) in a.chunks_exact(self.inputs).enumerate() {
            let scale = largest(row) / CODE_MAX;
            for (to, x) in to[parts.a + r * stride..].iter_mut().zip(row) {
                *to = code(*x, scale);
            }
            put_f32(to, parts.u_scales + 4 * r, scale * rank_scales[r] * site.scale);
        }
        for block in 0..blocks {
            let columns = block * LANES..site.outputs.min((block + 1) * LANES);
            // What is left of B after each rank's scale, at most 1.
            let value = |r: usize, j: usize| match rank_scales[r] {
                0.0 => 0.0,
                scale => b[r * site.outputs + j] / scale,
            };
            let all: Vec<f32> =
                columns.clone().flat_map(|j| (0..site.rank).map(move |r| value(r, j))).collect();
            let scale = largest(&all) / CODE_MAX;
            put_f32(to, parts.b_scales + 4 * block, scale);
            for (lane, j) in columns.enumerate() {
                for r in 0..site.rank {
                    let line = parts.b + (block * quads + r / QUAD) * LANES * QUAD;
                    to[line + lane * QUAD + r % QUAD] = code(value(r, j), scale);
                }
            }
        }
    }

    /// The matrices that packed bytes stand for: for each site A [rank, inputs] and scale · Bᵀ
    /// [rank, outputs]. `None` if a number is not finite or bytes are missing.
    pub fn unpack(&self, bytes: &[u8]) -> Option<Vec<(Vec<f32>, Vec<f32>)>> {
        if bytes.len() != self.bytes {
            return None;
        }
        let mut all = Vec::new();
        let mut column = 0;
        for (site, parts) in self.placed() {
            let (rank, outputs, stride) =
                (site.rank, site.outputs, self.inputs.next_multiple_of(ALIGNED));
            let a_at = |r: usize, k: usize| match self.form {
                LowRankForm::Bf16 => get_bf16(bytes, 2 * (k * self.width() + column + r)),
                LowRankForm::Int8 => uncode(bytes[parts.a + r * stride + k]),
            };
            let quads = rank.div_ceil(QUAD);
            let b_at = |r: usize, j: usize| match self.form {
                LowRankForm::Bf16 => get_bf16(bytes, parts.b + 2 * (r * outputs + j)) * site.scale,
                LowRankForm::Int8 => {
                    let line = parts.b + (j / LANES * quads + r / QUAD) * LANES * QUAD;
                    uncode(bytes[line + j % LANES * QUAD + r % QUAD])
                        * get_f32(bytes, parts.b_scales + j / LANES * 4)
                        * get_f32(bytes, parts.u_scales + 4 * r)
                }
            };
            let a: Vec<f32> = matrix(rank, self.inputs, a_at);
            let b: Vec<f32> = matrix(rank, outputs, b_at);
            if a.iter().chain(&b).any(|x| !x.is_finite()) {
                return None;
            }
            all.push((a, b));
            column += rank;
        }
        Some(all)
    }

    /// Whether every number of packed bytes is finite.
    pub fn is_finite(&self, bytes: &[u8]) -> bool {
        let finite_f32 =
            |range: Range<usize>| range.step_by(4).all(|at| get_f32(bytes, at).is_finite());
        bytes.len() == self.bytes
            && match self.form {
                // Padding is zero, so everything is a bf16. Whole blocks without a way out are vectors.
                LowRankForm::Bf16 => bytes.chunks(1 << 12).all(|block| {
                    let numbers = block.as_chunks::<2>().0.iter();
                    let infinite =
                        |x: &[u8; 2]| u16::from_le_bytes(*x) & BF16_EXPONENT == BF16_EXPONENT;
                    numbers.fold(0u16, |any, x| any | u16::from(infinite(x))) == 0
                }),
                LowRankForm::Int8 => self.placed().all(|(site, parts)| {
                    let blocks = site.outputs.div_ceil(LANES);
                    finite_f32(parts.u_scales..parts.u_scales + 4 * site.rank)
                        && finite_f32(parts.b_scales..parts.b_scales + 4 * blocks)
                }),
            }
    }
}

fn matrix(rows: usize, columns: usize, at: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    (0..rows * columns).map(|i| at(i / columns, i % columns)).collect()
}

fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0f32, |a, b| a.max(b.abs()))
}

fn code(x: f32, scale: f32) -> u8 {
    let code = if scale > 0.0 { (x / scale).round_ties_even() } else { 0.0 };
    (code.clamp(-CODE_MAX, CODE_MAX) as i32 + OFFSET) as u8
}

fn uncode(code: u8) -> f32 {
    (i32::from(code) - OFFSET) as f32
}

fn put_f32(to: &mut [u8], at: usize, x: f32) {
    to[at..][..4].copy_from_slice(&x.to_le_bytes());
}

fn put_bf16(to: &mut [u8], at: usize, x: f32) {
    to[at..][..2].copy_from_slice(&to_bf16(x).to_le_bytes());
}

pub(super) fn get_f32(bytes: &[u8], at: usize) -> f32 {
    f32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn get_bf16(bytes: &[u8], at: usize) -> f32 {
    widen(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}
