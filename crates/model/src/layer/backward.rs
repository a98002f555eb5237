//! The backward pass of one layer.

use super::{BackwardBuffers, Layer, LayerBuffers};
use crate::lora::{Group, LoraLayout};
use crate::lora_panels::{AdaptedRows, LowRankScratch, adapt_backward};
use crate::panels::Linear;
use crate::{Activation, LayerWeights};
use openledger_tensor::{
    Lhs, Out, PackedMatrix, Start, Turn, attention_backward, geglu_backward, gemm,
    rms_norm_backward, swiglu_backward,
};
use std::ops::Range;

/// Where the gradients go.
pub(crate) enum Gradients<'a> {
    /// Every weight is trained; one entry per layer.
    Full(&'a mut [LayerWeights]),
    /// Only an adapter is trained.
    Lora(LoraTraining<'a>),
}

/// Adapters in training, one per range of [`AdaptedRows`]; the ranges follow each other from row 0.
pub(crate) struct LoraTraining<'a> {
    pub(crate) layout: &'a LoraLayout,
    /// Each as long as the layout; the layer overwrites its part.
    pub(crate) gradients: &'a mut [&'a mut [f32]],
}

/// A layer going backward.
pub(crate) struct LayerBackward<'a> {
    pub(crate) layer: Layer<'a>,
    pub(crate) sequences: &'a [Range<usize>],
    /// Whether the gradient of the layer's input is wanted.
    pub(crate) input_wanted: bool,
}

impl LayerBackward<'_> {
    /// Turns `buffers.stream`, the gradient of the layer's result, into that of its input.
    ///
    /// `kept` is what the forward pass left; its `gate_up` is overwritten.
    pub(crate) fn run(
        &self,
        kept: &mut LayerBuffers,
        buffers: &mut BackwardBuffers,
        gradients: &mut Gradients<'_>,
    ) {
        let Layer { index, config, weights, panels, .. } = self.layer;
        let (h, f, heads) = (config.hidden_size, config.intermediate_size, config.heads());
        let (rows, few) = (self.layer.positions.len(), kept.middle_scales.len());
        let attention = heads.query * heads.dim;
        let b = buffers;
        b.normed.resize(rows * h, 0.0);
        b.hidden.resize(few * f, 0.0);
        b.attended.resize(few * attention, 0.0);
        b.qkv.resize(rows * heads.row(), 0.0);
        let [low_qkv, low_output, low_gate_up, low_down] = &kept.low;
        let adapters = self.layer.picked.map_or(self.layer.adapters, |p| p.adapters);
        let (packed, low_rank) = (&mut b.packed, &mut b.low_rank);
        let mut sites = Sites { index, adapters, packed, low_rank, gradients };

        // result = middle + post_norm(down(swiglu(gate_up(norm(middle)))))
        let dx = Some(&mut b.hidden[..]);
        let (raw, scales) = (&kept.feed_forward_raw, &kept.feed_forward_scales);
        let norm = &weights.feed_forward_post_norm;
        let d_down = through_norm(&b.stream, norm, raw, scales, &mut b.post);
        sites.run(Group::Down, &panels.down, few, &kept.hidden, low_down, d_down, dx);
        match self.layer.architecture.activation {
            Activation::Silu => swiglu_backward(&b.hidden, f, &mut kept.gate_up),
            Activation::GeluTanh => geglu_backward(&b.hidden, f, &mut kept.gate_up),
        }
        let dx = Some(&mut b.normed[..few * h]);
        let (x, dy) = (&kept.middle_normed, &kept.gate_up);
        sites.run(Group::GateUp, &panels.gate_up, few, x, low_gate_up, dy, dx);
        let (norm, scales) = (&weights.feed_forward_norm, &kept.middle_scales);
        let d_norm = sites.full().map(|g| &mut g.feed_forward_norm[..]);
        rms_norm_backward(&b.normed[..few * h], &kept.middle, norm, scales, &mut b.stream, d_norm);

        // middle = stream + post_norm(output(attention(turn(head_norms(qkv(norm(stream)))))))
        let dx = Some(&mut b.attended[..]);
        let (raw, scales) = (&kept.attention_raw, &kept.attention_scales);
        let norm = &weights.attention_post_norm;
        let d_output = through_norm(&b.stream, norm, raw, scales, &mut b.post);
        sites.run(Group::Output, &panels.output, few, &kept.attended, low_output, d_output, dx);
        if let Some(picked) = self.layer.picked {
            spread(picked.rows, rows, h, &mut b.stream);
            spread(picked.rows, rows, attention, &mut b.attended);
            spread(picked.rows, rows, attention, &mut kept.attended);
        }
        attention_backward(
            self.layer.architecture.attention(index, heads),
            &kept.qkv,
            &kept.attended,
            &b.attended,
            self.sequences,
            &mut b.qkv,
        );
        let turned = heads.query + heads.key_value;
        self.layer.rope().turn(
            &mut b.qkv,
            heads.row(),
            turned,
            self.layer.positions,
            Turn::Backward,
        );
        let queries = 0..heads.query * heads.dim;
        let keys = queries.end..turned * heads.dim;
        for (columns, norm, raw, scales) in [
            (queries, &weights.query_norm, &kept.raw_queries, &kept.query_scales),
            (keys, &weights.key_norm, &kept.raw_keys, &kept.key_scales),
        ] {
            if let Some(norm) = norm {
                head_norms_backward(&mut b.qkv, heads.row(), columns, norm, raw, scales);
            }
        }
        let dx = self.input_wanted.then_some(&mut b.normed[..]);
        sites.adapters = self.layer.adapters;
        sites.run(Group::Attention, &panels.qkv, rows, &kept.normed, low_qkv, &b.qkv, dx);
        if self.input_wanted {
            let d_norm = sites.full().map(|g| &mut g.attention_norm[..]);
            let norm = &weights.attention_norm;
            rms_norm_backward(&b.normed, &kept.stream, norm, &kept.scales, &mut b.stream, d_norm);
        }
    }
}

/// The linear layers going backward.
struct Sites<'a, 'g> {
    index: usize,
    /// The adapters on the rows at hand.
    adapters: &'a [AdaptedRows<'a>],
    packed: &'a mut PackedMatrix,
    low_rank: &'a mut LowRankScratch,
    gradients: &'a mut Gradients<'g>,
}

impl Sites<'_, '_> {
    fn full(&mut self) -> Option<&mut LayerWeights> {
        match self.gradients {
            Gradients::Full(layers) => Some(&mut layers[self.index]),
            Gradients::Lora(_) => None,
        }
    }

    /// One group: gradient of its weights or of its adapter, and of its input where that is wanted.
    #[allow(clippy::too_many_arguments)]
    fn run(
        &mut self,
        group: Group,
        linear: &Linear,
        rows: usize,
        x: &[f32],
        low: &[f32],
        dy: &[f32],
        mut dx: Option<&mut [f32]>,
    ) {
        if let Some(dx) = dx.as_deref_mut() {
            linear.backward(rows, dy, dx);
        }
        match self.gradients {
            Gradients::Full(layers) => {
                let g = &mut layers[self.index];
                let dw = match group {
                    Group::Attention => &mut g.qkv,
                    Group::Output => &mut g.output,
                    Group::GateUp => &mut g.gate_up,
                    Group::Down => &mut g.down,
                };
                // dW [out, in] = dyᵀ · x
                self.packed.set_rows(x, rows, linear.inputs, linear.inputs);
                let dy = Lhs::Columns { data: dy, stride: linear.outputs };
                let dw = Out { data: dw, stride: linear.inputs };
                gemm(linear.outputs, dy, &*self.packed, dw, Start::Zero);
            }
            Gradients::Lora(LoraTraining { layout, gradients }) => {
                let part = &layout.layers[self.index][group as usize];
                let (at, inputs) = ((self.index, group), linear.inputs);
                for (run, gradients) in self.adapters.iter().zip(gradients.iter_mut()) {
                    let (first, rows) = (run.rows.start, run.rows.len());
                    let x = &x[first * inputs..][..rows * inputs];
                    let low = &low[first * part.width..];
                    let dy = (&dy[first * linear.outputs..], linear.outputs);
                    let dx = dx.as_deref_mut().map(|dx| &mut dx[first * inputs..][..rows * inputs]);
                    let scratch = &mut *self.low_rank;
                    adapt_backward(run.panels, part, at, rows, x, low, dy, dx, gradients, scratch);
                }
            }
        }
    }
}

/// The gradient before a norm from that after it; without a norm it is the same.
fn through_norm<'a>(
    dy: &'a [f32],
    norm: &Option<Vec<f32>>,
    x: &[f32],
    scales: &[f32],
    dx: &'a mut Vec<f32>,
) -> &'a [f32] {
    let Some(norm) = norm else { return dy };
    dx.clear();
    dx.resize(x.len(), 0.0);
    rms_norm_backward(dy, x, norm, scales, dx, None);
    dx
}

/// As [`through_norm`], for the heads in some columns of d [rows, stride].
fn head_norms_backward(
    d: &mut [f32],
    stride: usize,
    columns: Range<usize>,
    norm: &[f32],
    x: &[f32],
    scales: &[f32],
) {
    let dy: Vec<f32> =
        d.chunks_exact(stride).flat_map(|row| &row[columns.clone()]).copied().collect();
    let mut dx = vec![0.0; dy.len()];
    rms_norm_backward(&dy, x, norm, scales, &mut dx, None);
    for (row, dx) in d.chunks_exact_mut(stride).zip(dx.chunks_exact(columns.len())) {
        row[columns.clone()].copy_from_slice(dx);
    }
}

/// Puts the first rows of x back where they were picked; all other rows become zero.
fn spread(picked: &[usize], rows: usize, width: usize, x: &mut Vec<f32>) {
    x.resize(rows * width, 0.0);
    let mut end = rows;
    for (from, to) in picked.iter().enumerate().rev() {
        x.copy_within(from * width..(from + 1) * width, to * width);
        x[(to + 1) * width..end * width].fill(0.0);
        end = *to;
    }
    x[..end * width].fill(0.0);
}
