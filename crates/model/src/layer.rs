//! One decoder layer, forward and backward.
//!
//! ```text
//! stream ─▶ norm ─▶ q k v ─▶ turn ─▶ attention ─▶ output ─▶ + ─▶ norm ─▶ gate up ─▶ SwiGLU ─▶ down ─▶ +
//!    └─────────────────────────────────────────────────────┘ └────────────────────────────────────────┘
//! ```
//!
//! Where the family has them, a bias follows each product, a norm of every head the queries and keys, and a norm
//! each of the two results that are added; GeGLU takes SwiGLU's place.
//!
//! Training, prefill, decode and scoring all run this one forward pass, so they agree to the bit.
//!
//! **Invariant:** a row depends on its own sequence and its own adapter, never on the rest of the batch.

mod backward;
mod buffers;

pub(crate) use backward::{Gradients, LayerBackward, LoraTraining};
pub(crate) use buffers::{BackwardBuffers, LayerBuffers};

use crate::lora::Group;
use crate::lora_panels::{AdaptedRows, adapt};
use crate::panels::LayerPanels;
use crate::{Activation, Architecture, DecoderConfig, LayerWeights};
use openledger_tensor::{RopeTable, Turn, geglu, rms_norm, swiglu};
use std::ops::Range;

/// Everything a layer reads.
pub(crate) struct Layer<'a> {
    pub(crate) index: usize,
    pub(crate) config: &'a DecoderConfig,
    pub(crate) architecture: &'a Architecture,
    /// One per rotary embedding of the architecture.
    pub(crate) ropes: &'a [RopeTable],
    pub(crate) weights: &'a LayerWeights,
    pub(crate) panels: &'a LayerPanels,
    /// Position of each row.
    pub(crate) positions: &'a [u32],
    pub(crate) adapters: &'a [AdaptedRows<'a>],
    /// The rows that are needed after attention, ascending, where these are not all (last layer).
    pub(crate) picked: Option<Picked<'a>>,
}

/// Rows of the last layer whose result is wanted; the others stop at their keys and values.
#[derive(Clone, Copy)]
pub(crate) struct Picked<'a> {
    pub(crate) rows: &'a [usize],
    /// The adapters of the picked rows, numbered from 0 among these.
    pub(crate) adapters: &'a [AdaptedRows<'a>],
}

impl Layer<'_> {
    /// From `buffers.stream` [rows, hidden] to `next` [rows or picked rows, hidden].
    ///
    /// `attend` gets the turned queries, keys and values and writes what they attend to.
    pub(crate) fn forward(
        &self,
        buffers: &mut LayerBuffers,
        next: &mut Vec<f32>,
        attend: impl FnOnce(&[f32], &mut [f32]),
    ) {
        let (h, eps) = (self.config.hidden_size, self.config.rms_norm_eps as f32);
        let (heads, rows) = (self.config.heads(), self.positions.len());
        let kept = self.picked.map_or(rows, |p| p.rows.len());
        buffers.resize(self.config, rows, kept);
        next.resize(kept * h, 0.0);
        let b = buffers;
        let [low_qkv, low_output, low_gate_up, low_down] = &mut b.low;

        rms_norm(&b.stream, &self.weights.attention_norm, eps, &mut b.normed, &mut b.scales);
        let at = |group| (self.index, group);
        self.panels.qkv.forward(rows, &b.normed, &mut b.qkv);
        add_bias(&mut b.qkv, &self.weights.qkv_bias);
        let width = heads.row();
        adapt(self.adapters, at(Group::Attention), (&b.normed, h), (&mut b.qkv, width), low_qkv);
        let turned = heads.query + heads.key_value;
        let (queries, keys) = (heads.query * heads.dim, heads.key_value * heads.dim);
        if let Some(norm) = &self.weights.query_norm {
            let (raw, scales) = (&mut b.raw_queries, &mut b.query_scales);
            norm_heads(&mut b.qkv, width, 0..queries, norm, eps, raw, scales);
        }
        if let Some(norm) = &self.weights.key_norm {
            let (raw, scales) = (&mut b.raw_keys, &mut b.key_scales);
            norm_heads(&mut b.qkv, width, queries..queries + keys, norm, eps, raw, scales);
        }
        self.rope().turn(&mut b.qkv, width, turned, self.positions, Turn::Forward);
        attend(&b.qkv, &mut b.attended);

        let (mut stream, mut adapters) = (&b.stream, self.adapters);
        if let Some(picked) = self.picked {
            pick(picked.rows, heads.query * heads.dim, &mut b.attended);
            b.picked_stream.clear();
            let rows = picked.rows.iter().flat_map(|row| &b.stream[row * h..][..h]);
            b.picked_stream.extend(rows);
            (stream, adapters) = (&b.picked_stream, picked.adapters);
        }
        self.panels.output.forward(kept, &b.attended, &mut b.middle);
        add_bias(&mut b.middle, &self.weights.output_bias);
        let attended = (&b.attended[..], heads.query * heads.dim);
        adapt(adapters, at(Group::Output), attended, (&mut b.middle, h), low_output);
        if let Some(norm) = &self.weights.attention_post_norm {
            post_norm(&mut b.middle, norm, eps, &mut b.attention_raw, &mut b.attention_scales);
        }
        add(&mut b.middle, stream);

        let norm = &self.weights.feed_forward_norm;
        rms_norm(&b.middle, norm, eps, &mut b.middle_normed, &mut b.middle_scales);
        self.panels.gate_up.forward(kept, &b.middle_normed, &mut b.gate_up);
        add_bias(&mut b.gate_up, &self.weights.gate_up_bias);
        let f = self.config.intermediate_size;
        let gate_up = (&mut b.gate_up[..], 2 * f);
        adapt(adapters, at(Group::GateUp), (&b.middle_normed, h), gate_up, low_gate_up);
        match self.architecture.activation {
            Activation::Silu => swiglu(&b.gate_up, f, &mut b.hidden),
            Activation::GeluTanh => geglu(&b.gate_up, f, &mut b.hidden),
        }
        self.panels.down.forward(kept, &b.hidden, next);
        add_bias(next, &self.weights.down_bias);
        adapt(adapters, at(Group::Down), (&b.hidden, f), (next, h), low_down);
        if let Some(norm) = &self.weights.feed_forward_post_norm {
            post_norm(next, norm, eps, &mut b.feed_forward_raw, &mut b.feed_forward_scales);
        }
        add(next, &b.middle);
    }

    fn rope(&self) -> &RopeTable {
        &self.ropes[self.architecture.layers[self.index].rope]
    }
}

/// Adds the bias to every row.
fn add_bias(x: &mut [f32], bias: &Option<Vec<f32>>) {
    if let Some(bias) = bias {
        x.chunks_exact_mut(bias.len()).for_each(|row| add(row, bias));
    }
}

/// Normalises each head in some columns of x [rows, stride]; what they were goes to `raw`.
fn norm_heads(
    x: &mut [f32],
    stride: usize,
    columns: Range<usize>,
    norm: &[f32],
    eps: f32,
    raw: &mut Vec<f32>,
    scales: &mut Vec<f32>,
) {
    raw.clear();
    x.chunks_exact(stride).for_each(|row| raw.extend_from_slice(&row[columns.clone()]));
    scales.resize(raw.len() / norm.len(), 0.0);
    let mut normed = vec![0.0; raw.len()];
    rms_norm(raw, norm, eps, &mut normed, scales);
    for (row, normed) in x.chunks_exact_mut(stride).zip(normed.chunks_exact(columns.len())) {
        row[columns.clone()].copy_from_slice(normed);
    }
}

/// Normalises x in place; what it was goes to `raw`.
fn post_norm(x: &mut [f32], norm: &[f32], eps: f32, raw: &mut Vec<f32>, scales: &mut Vec<f32>) {
    raw.clear();
    raw.extend_from_slice(x);
    scales.resize(raw.len() / norm.len(), 0.0);
    rms_norm(raw, norm, eps, x, scales);
}

/// x += y.
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// Moves ascending rows to the front and drops the rest.
fn pick(rows: &[usize], width: usize, x: &mut Vec<f32>) {
    for (to, from) in rows.iter().enumerate() {
        x.copy_within(from * width..(from + 1) * width, to * width);
    }
    x.truncate(rows.len() * width);
}
