//! Causal attention of ragged sequences, forward and backward.
//!
//! ```text
//! scores = q · Kᵀ · scale ─▶ soft cap ─▶ softmax over the keys up to the row, in its window ─▶ · V
//! ```
//!
//! Rows are taken in blocks; a block sees only the keys up to its last row, later ones get probability
//! zero inside the block. Adding 0 · v changes no bit but the sign of a zero, and that is made + at the
//! end. So a row's result does not depend on the block it is in, and a cached step equals a full pass. Keys
//! that a window has left behind get probability zero in the same way.

use crate::gemm::{Lhs, Out, PackedMatrix, Place, Start, gemm, gemm_at};
use crate::math::rsqrt;
use crate::parallel::{Shared, for_each};
use crate::reduce::{dot_lanes, exp_sum_lanes, max_lanes};
use crate::simd::kernel;
use crate::soft_cap::{cap_lanes, soft_cap, soft_cap_backward};
use std::ops::Range;

/// Rows of one block: a multiple of every tile height.
const BLOCK: usize = 48;

/// Heads of one layer.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads; divides `query`.
    pub key_value: usize,
    /// Elements of a head.
    pub dim: usize,
}

impl Heads {
    /// Width of a row of queries, keys and values together.
    pub fn row(self) -> usize {
        (self.query + 2 * self.key_value) * self.dim
    }

    pub(crate) fn group(self) -> usize {
        self.query / self.key_value
    }

    pub(crate) fn key_at(self, head: usize) -> usize {
        (self.query + head) * self.dim
    }

    pub(crate) fn value_at(self, head: usize) -> usize {
        (self.query + self.key_value + head) * self.dim
    }
}

/// How a layer attends.
#[derive(Clone, Copy, Debug)]
pub struct AttentionRule {
    /// Its heads.
    pub heads: Heads,
    /// Factor of the scores.
    pub scale: f32,
    /// Scores become cap · tanh(score / cap), after the scale.
    pub soft_cap: Option<f32>,
    /// Positions that a row attends to, its own included; all up to its own where absent.
    pub window: Option<usize>,
}

impl From<Heads> for AttentionRule {
    /// Scores divided by √dim, no cap, no window.
    fn from(heads: Heads) -> Self {
        Self { heads, scale: rsqrt(heads.dim as f32), soft_cap: None, window: None }
    }
}

/// Keys and values of one sequence in one layer, per key-value head: keys [dim, positions], values
/// [positions, dim].
#[derive(Clone, Debug)]
pub struct LayerCache {
    heads: Vec<(PackedMatrix, PackedMatrix)>,
}

impl LayerCache {
    /// Room for `positions` positions.
    pub fn new(heads: Heads, positions: usize) -> Self {
        let one = || {
            (
                PackedMatrix::with_column_capacity(heads.dim, positions),
                PackedMatrix::with_capacity(positions, heads.dim),
            )
        };
        Self { heads: (0..heads.key_value).map(|_| one()).collect() }
    }

    /// Appends the keys and values of rows [n, heads.row()], keys already turned to their positions.
    pub fn append(&mut self, heads: Heads, qkv: &[f32]) {
        for row in qkv.chunks_exact(heads.row()) {
            for (head, (keys, values)) in self.heads.iter_mut().enumerate() {
                keys.push_column(&row[heads.key_at(head)..][..heads.dim]);
                values.push_row(&row[heads.value_at(head)..][..heads.dim]);
            }
        }
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.heads.first().map_or(0, |(keys, _)| keys.columns())
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory it takes.
    pub fn bytes(&self) -> usize {
        self.heads.iter().map(|(keys, values)| keys.bytes() + values.bytes()).sum()
    }

    /// Forgets all positions but the first `positions`.
    pub fn truncate(&mut self, positions: usize) {
        for (keys, values) in &mut self.heads {
            keys.truncate_columns(positions);
            values.truncate_rows(positions);
        }
    }
}

/// Rows of one sequence in a batch and the cache that already holds their keys and values.
#[derive(Clone, Debug)]
pub struct CachedRows<'a> {
    /// Rows of the batch; the last is the newest position of the cache.
    pub rows: Range<usize>,
    /// Keys and values of this layer.
    pub cache: &'a LayerCache,
}

/// Attention of the newest rows of some sequences to everything in their caches.
///
/// Shapes: qkv [rows, heads.row()], out [rows, heads.query · heads.dim].
pub fn cached_attention(
    rule: impl Into<AttentionRule>,
    qkv: &[f32],
    sequences: &[CachedRows<'_>],
    out: &mut [f32],
) {
    let rule = rule.into();
    let heads = rule.heads;
    let out = Shared::new(out);
    for_each(sequences.len() * heads.query, |task| {
        let (sequence, head) = (&sequences[task / heads.query], task % heads.query);
        let (keys, values) = &sequence.cache.heads[head / heads.group()];
        let first = keys.columns() - sequence.rows.len();
        attend(rule, qkv, sequence.rows.clone(), head, keys, values, first, &out);
    });
}

/// Attention inside each of some sequences, without caches.
///
/// Shapes: qkv [rows, heads.row()], out [rows, heads.query · heads.dim]; sequences are disjoint ranges
/// of rows.
pub fn attention(
    rule: impl Into<AttentionRule>,
    qkv: &[f32],
    sequences: &[Range<usize>],
    out: &mut [f32],
) {
    let rule = rule.into();
    let heads = rule.heads;
    let out = Shared::new(out);
    for_each(sequences.len() * heads.key_value, |task| {
        let (rows, head) = (&sequences[task / heads.key_value], task % heads.key_value);
        let at = rows.start * heads.row();
        let n = rows.len();
        let keys =
            PackedMatrix::from_columns(&qkv[at + heads.key_at(head)..], heads.dim, n, heads.row());
        let values =
            PackedMatrix::from_rows(&qkv[at + heads.value_at(head)..], n, heads.dim, heads.row());
        for query in head * heads.group()..(head + 1) * heads.group() {
            attend(rule, qkv, rows.clone(), query, &keys, &values, 0, &out);
        }
    });
}

/// One query head of one sequence whose rows stand at `first`, `first` + 1, ….
#[allow(clippy::too_many_arguments)]
fn attend(
    rule: AttentionRule,
    qkv: &[f32],
    rows: Range<usize>,
    head: usize,
    keys: &PackedMatrix,
    values: &PackedMatrix,
    first: usize,
    out: &Shared<'_>,
) {
    let heads = rule.heads;
    let (stride, dim, width) = (heads.row(), heads.dim, heads.query * heads.dim);
    let mut scores = Vec::new();
    for block in blocks(rows.len()) {
        let seen = first + block.end;
        let row = rows.start + block.start;
        scores.resize(block.len() * seen, 0.0);
        let q = Lhs::Rows { data: &qkv[row * stride + head * dim..], stride };
        gemm(
            block.len(),
            q,
            keys.leading(dim, seen),
            Out { data: &mut scores, stride: seen },
            Start::Zero,
        );
        causal_softmax(&mut scores, seen, first + block.start, rule);
        let probabilities = Lhs::Rows { data: &scores, stride: seen };
        let at = row * width + head * dim;
        let place = Place { shared: out, at, stride: width };
        // SAFETY: each task owns its rows and its head's columns.
        unsafe {
            gemm_at(block.len(), probabilities, values.leading(seen, dim), place, Start::Zero)
        };
        for i in 0..block.len() {
            // SAFETY: as above.
            unsafe { out.slice(at + i * width, dim) }.iter_mut().for_each(|x| *x += 0.0);
        }
    }
}

fn blocks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(BLOCK).map(move |i| i..(i + BLOCK).min(rows))
}

kernel! {
    /// Row i keeps of its first `before` + i + 1 scores those in the window, scaled and capped, as probabilities;
    /// the others become zero.
    fn causal_softmax<S>(scores: &mut [f32], stride: usize, before: usize, rule: AttentionRule) {
        for (i, row) in scores.chunks_exact_mut(stride).enumerate() {
            let (row, later) = row.split_at_mut(before + i + 1);
            later.fill(0.0);
            for x in row.iter_mut() {
                *x *= rule.scale;
            }
            if let Some(cap) = rule.soft_cap {
                // SAFETY: inside a kernel.
                unsafe { cap_lanes::<S>(row, cap) };
            }
            // Their exponential is exactly zero, and the lane of every other key stays what it was.
            let unseen = row.len().saturating_sub(rule.window.unwrap_or(usize::MAX));
            row[..unseen].fill(f32::NEG_INFINITY);
            // SAFETY: inside a kernel.
            let sum = unsafe {
                let max = max_lanes::<S>(row);
                exp_sum_lanes::<S>(row, max)
            };
            let inverse = 1.0 / sum;
            for x in row {
                *x *= inverse;
            }
        }
    }
}

/// Gradient of [`attention`]: from d_out, overwrites d_qkv.
///
/// Shapes: qkv, d_qkv [rows, heads.row()]; out, d_out [rows, heads.query · heads.dim]. Rows outside all
/// sequences are left alone. Probabilities are computed again instead of being kept.
pub fn attention_backward(
    rule: impl Into<AttentionRule>,
    qkv: &[f32],
    out: &[f32],
    d_out: &[f32],
    sequences: &[Range<usize>],
    d_qkv: &mut [f32],
) {
    let rule = rule.into();
    let heads = rule.heads;
    let d_qkv = Shared::new(d_qkv);
    for_each(sequences.len() * heads.key_value, |task| {
        let (rows, head) = (&sequences[task / heads.key_value], task % heads.key_value);
        attend_backward(rule, qkv, out, d_out, rows.clone(), head, &d_qkv);
    });
}

/// One key-value head of one sequence.
fn attend_backward(
    rule: AttentionRule,
    qkv: &[f32],
    out: &[f32],
    d_out: &[f32],
    rows: Range<usize>,
    head: usize,
    d_qkv: &Shared<'_>,
) {
    let heads = rule.heads;
    let (stride, dim, width, n) = (heads.row(), heads.dim, heads.query * heads.dim, rows.len());
    let at = rows.start * stride;
    let (key_at, value_at) = (at + heads.key_at(head), at + heads.value_at(head));
    let keys_t = PackedMatrix::from_columns(&qkv[key_at..], dim, n, stride);
    let keys = PackedMatrix::from_rows(&qkv[key_at..], n, dim, stride);
    let values_t = PackedMatrix::from_columns(&qkv[value_at..], dim, n, stride);
    let mut d_keys = vec![0.0; n * dim];
    let mut d_values = vec![0.0; n * dim];
    let (mut p, mut ds, mut capped) = (Vec::new(), Vec::new(), Vec::new());
    let mut packed = PackedMatrix::default();
    for query in head * heads.group()..(head + 1) * heads.group() {
        for block in blocks(n) {
            let (seen, height) = (block.end, block.len());
            let row = rows.start + block.start;
            p.resize(height * seen, 0.0);
            ds.resize(height * seen, 0.0);
            let q = &qkv[row * stride + query * dim..];
            let from = row * width + query * dim;
            let (o, d_o) = (&out[from..], &d_out[from..]);
            let part = |data: &'_ mut Vec<f32>, a: Lhs<'_>, b: &PackedMatrix| {
                gemm(height, a, b.leading(dim, seen), Out { data, stride: seen }, Start::Zero);
            };
            part(&mut p, Lhs::Rows { data: q, stride }, &keys_t);
            if let Some(cap) = rule.soft_cap {
                capped.clear();
                capped.extend(p.iter().map(|x| x * rule.scale));
                soft_cap(&mut capped, cap);
            }
            causal_softmax(&mut p, seen, block.start, rule);
            part(&mut ds, Lhs::Rows { data: d_o, stride: width }, &values_t);
            score_gradient(&mut ds, &p, seen, o, d_o, width, dim, rule.scale);
            if let Some(cap) = rule.soft_cap {
                soft_cap_backward(&mut ds, &capped, cap);
            }

            let ds_rows = Lhs::Rows { data: &ds, stride: seen };
            let place = Place { shared: d_qkv, at: row * stride + query * dim, stride };
            // SAFETY: each task owns its rows and the columns of its heads.
            unsafe { gemm_at(height, ds_rows, keys.leading(seen, dim), place, Start::Zero) };
            let transposed = |data| Lhs::Columns { data, stride: seen };
            packed.set_rows(q, height, dim, stride);
            gemm(
                seen,
                transposed(&ds),
                &packed,
                Out { data: &mut d_keys, stride: dim },
                Start::Continue,
            );
            packed.set_rows(d_o, height, dim, width);
            gemm(
                seen,
                transposed(&p),
                &packed,
                Out { data: &mut d_values, stride: dim },
                Start::Continue,
            );
        }
    }
    for (i, (d_key, d_value)) in
        d_keys.chunks_exact(dim).zip(d_values.chunks_exact(dim)).enumerate()
    {
        // SAFETY: as above.
        unsafe {
            d_qkv.slice(key_at + i * stride, dim).copy_from_slice(d_key);
            d_qkv.slice(value_at + i * stride, dim).copy_from_slice(d_value);
        }
    }
}

kernel! {
    /// ds holds dP and becomes P · (dP − Σ dO·O) · scale.
    fn score_gradient<S>(
        ds: &mut [f32],
        p: &[f32],
        seen: usize,
        o: &[f32],
        d_o: &[f32],
        width: usize,
        dim: usize,
        scale: f32,
    ) {
        for (i, (ds, p)) in ds.chunks_exact_mut(seen).zip(p.chunks_exact(seen)).enumerate() {
            let (o, d_o) = (&o[i * width..][..dim], &d_o[i * width..][..dim]);
            // SAFETY: inside a kernel.
            let total = unsafe { dot_lanes::<S>(o, d_o) };
            for (ds, p) in ds.iter_mut().zip(p) {
                *ds = p * (*ds - total) * scale;
            }
        }
    }
}
