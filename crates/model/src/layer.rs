//! One decoder layer, forward and backward.
//!
//! ```text
//! stream ─▶ norm ─▶ q k v ─▶ turn ─▶ attention ─▶ output ─▶ + ─▶ norm ─▶ gate up ─▶ SwiGLU ─▶ down ─▶ +
//!    └─────────────────────────────────────────────────────┘ └────────────────────────────────────────┘
//! ```
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
use crate::{DecoderConfig, LayerWeights};
use openledger_tensor::{RopeTable, Turn, rms_norm, swiglu};

/// Everything a layer reads.
pub(crate) struct Layer<'a> {
    pub(crate) index: usize,
    pub(crate) config: &'a DecoderConfig,
    pub(crate) rope: &'a RopeTable,
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
        let width = heads.row();
        adapt(self.adapters, at(Group::Attention), (&b.normed, h), (&mut b.qkv, width), low_qkv);
        let turned = heads.query + heads.key_value;
        self.rope.turn(&mut b.qkv, width, turned, self.positions, Turn::Forward);
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
        let attended = (&b.attended[..], heads.query * heads.dim);
        adapt(adapters, at(Group::Output), attended, (&mut b.middle, h), low_output);
        add(&mut b.middle, stream);

        let norm = &self.weights.feed_forward_norm;
        rms_norm(&b.middle, norm, eps, &mut b.middle_normed, &mut b.middle_scales);
        self.panels.gate_up.forward(kept, &b.middle_normed, &mut b.gate_up);
        let f = self.config.intermediate_size;
        let gate_up = (&mut b.gate_up[..], 2 * f);
        adapt(adapters, at(Group::GateUp), (&b.middle_normed, h), gate_up, low_gate_up);
        swiglu(&b.gate_up, f, &mut b.hidden);
        self.panels.down.forward(kept, &b.hidden, next);
        adapt(adapters, at(Group::Down), (&b.hidden, f), (next, h), low_down);
        add(next, &b.middle);
    }
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
