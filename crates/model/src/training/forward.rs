//! The forward pass of a training step.

use super::{Activations, Batch};
use crate::panels::{Linear, Panels};
use crate::{DecoderConfig, Weights};
use openledger_tensor::{Lhs, Out, RopeTable, Start, Turn, attention, gemm, rms_norm, swiglu};

pub(super) fn forward(
    config: &DecoderConfig,
    rope: &RopeTable,
    weights: &Weights,
    panels: &Panels,
    batch: &Batch,
    kept: &mut Activations,
) {
    let (h, rows, heads) = (config.hidden_size, batch.rows(), config.heads());
    let eps = config.rms_norm_eps as f32;
    kept.resize(config, rows);
    let Activations { layers, last, .. } = kept;
    if let Some(first) = layers.first_mut() {
        for (x, token) in first.stream.chunks_exact_mut(h).zip(&batch.tokens) {
            x.copy_from_slice(&weights.embedding[*token as usize * h..][..h]);
        }
    }
    for i in 0..layers.len() {
        let (before, after) = layers.split_at_mut(i + 1);
        let l = &mut before[i];
        let next = after.first_mut().map_or(&mut *last, |l| &mut l.stream);
        let (w, p) = (&weights.layers[i], &panels.layers[i]);
        rms_norm(&l.stream, &w.attention_norm, eps, &mut l.normed, &mut l.scales);
        linear(&p.qkv, rows, &l.normed, &mut l.qkv, Start::Zero);
        rope.turn(
            &mut l.qkv,
            heads.row(),
            heads.query + heads.key_value,
            &batch.positions,
            Turn::Forward,
        );
        attention(heads, &l.qkv, &batch.sequences, &mut l.attended);
        linear(&p.output, rows, &l.attended, &mut l.middle, Start::Zero);
        add(&mut l.middle, &l.stream);
        rms_norm(&l.middle, &w.feed_forward_norm, eps, &mut l.middle_normed, &mut l.middle_scales);
        linear(&p.gate_up, rows, &l.middle_normed, &mut l.gate_up, Start::Zero);
        swiglu(&l.gate_up, config.intermediate_size, &mut l.hidden);
        linear(&p.down, rows, &l.hidden, next, Start::Zero);
        add(next, &l.middle);
    }
}

/// y [rows, out] = x [rows, in] · Wᵀ.
pub(super) fn linear(linear: &Linear, rows: usize, x: &[f32], y: &mut [f32], start: Start) {
    let x = Lhs::Rows { data: x, stride: linear.inputs };
    gemm(rows, x, &linear.forward, Out { data: y, stride: linear.outputs }, start);
}

/// x += y.
pub(super) fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}
