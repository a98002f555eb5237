//! Forward and backward through all layers.

use super::Batch;
use crate::inference::scale_embeddings;
use crate::layer::{BackwardBuffers, Gradients, Layer, LayerBackward, LayerBuffers, Picked, add};
use crate::lora_panels::{AdaptedRows, LoraPanels};
use crate::panels::Panels;
use crate::{Architecture, DecoderConfig, Weights};
use openledger_tensor::{RopeTable, attention};
use std::mem::swap;
use std::ops::Range;

/// What a pass reads.
pub(super) struct Model<'a> {
    pub(super) config: &'a DecoderConfig,
    pub(super) architecture: &'a Architecture,
    pub(super) ropes: &'a [RopeTable],
    pub(super) weights: &'a Weights,
    pub(super) panels: &'a Panels,
    /// Runs whose adapters are trained, in the order of their rows, from row and target 0 without gaps;
    /// none where the weights are.
    pub(super) runs: &'a [RunRows<'a>],
    /// Layers, counted from the last, whose buffers the backward pass finds as the forward pass left them.
    pub(super) kept_layers: usize,
}

/// The part of a batch that one adapter acts on.
pub(super) struct RunRows<'a> {
    pub(super) panels: &'a LoraPanels,
    pub(super) rows: Range<usize>,
    pub(super) targets: Range<usize>,
}

impl Model<'_> {
    /// Whether a layer is computed again on the way back.
    fn forgets(&self, layer: usize) -> bool {
        layer.saturating_add(self.kept_layers) < self.config.num_hidden_layers
    }
}

/// The buffers of a pass.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// One per layer; of a layer that is computed again only the input.
    layers: Vec<LayerBuffers>,
    /// The buffers of all layers that are computed again, and their results, which nobody needs twice.
    shared: LayerBuffers,
    result: Vec<f32>,
    /// Rows of the batch that have a target.
    pub(super) picked: Vec<usize>,
    /// Residual stream after the last layer, picked rows only [picked, hidden].
    pub(super) last: Vec<f32>,
    pub(super) logits: Vec<f32>,
    pub(super) back: BackwardBuffers,
}

impl Pass {
    pub(super) fn forward(&mut self, model: &Model<'_>, batch: &Batch) {
        let h = model.config.hidden_size;
        self.picked.clear();
        self.picked.extend(batch.targets.iter().map(|t| t.row));
        self.layers.resize_with(model.config.num_hidden_layers, LayerBuffers::default);
        if let Some(first) = self.layers.first_mut() {
            first.stream.clear();
            for token in &batch.tokens {
                first
                    .stream
                    .extend_from_slice(&model.weights.embedding[*token as usize * h..][..h]);
            }
            scale_embeddings(&mut first.stream, model.architecture);
        }
        let (all, few) = adapted(model.runs);
        let heads = model.config.heads();
        for i in 0..self.layers.len() {
            let (before, after) = self.layers.split_at_mut(i + 1);
            let next = after.first_mut().map_or(&mut self.last, |l| &mut l.stream);
            let layer = layer(model, batch, i, &all, &few, &self.picked);
            let attend = |qkv: &[f32], out: &mut [f32]| {
                attention(model.architecture.attention(i, heads), qkv, &batch.sequences, out);
            };
            if model.forgets(i) {
                swap(&mut self.shared.stream, &mut before[i].stream);
                layer.forward(&mut self.shared, next, attend);
                swap(&mut self.shared.stream, &mut before[i].stream);
            } else {
                layer.forward(&mut before[i], next, attend);
            }
        }
    }

    /// From the gradient of `last` in `back.stream` to that of the embeddings, if that is wanted.
    pub(super) fn backward(
        &mut self,
        model: &Model<'_>,
        batch: &Batch,
        input_wanted: bool,
        gradients: &mut Gradients<'_>,
    ) {
        let (all, few) = adapted(model.runs);
        let heads = model.config.heads();
        for (i, kept) in self.layers.iter_mut().enumerate().rev() {
            let back = LayerBackward {
                layer: layer(model, batch, i, &all, &few, &self.picked),
                sequences: &batch.sequences,
                input_wanted: input_wanted || i > 0,
            };
            if model.forgets(i) {
                swap(&mut self.shared.stream, &mut kept.stream);
                back.layer.forward(&mut self.shared, &mut self.result, |qkv, out| {
                    let rule = model.architecture.attention(i, heads);
                    attention(rule, qkv, &batch.sequences, out);
                });
                back.run(&mut self.shared, &mut self.back, gradients);
                swap(&mut self.shared.stream, &mut kept.stream);
            } else {
                back.run(kept, &mut self.back, gradients);
            }
        }
    }

    /// Memory of what forward passes left behind.
    pub(super) fn activation_bytes(&self) -> usize {
        let layers = self.layers.iter().chain([&self.shared]).map(LayerBuffers::bytes);
        layers.sum::<usize>() + 4 * (self.result.capacity() + self.last.capacity())
    }

    /// Adds the gradient of the first layer's input to that of the embedding [vocab, hidden].
    pub(super) fn embedding_gradient(
        &self,
        model: &Model<'_>,
        batch: &Batch,
        embedding: &mut [f32],
    ) {
        let h = model.config.hidden_size;
        for (token, d) in batch.tokens.iter().zip(self.back.stream.chunks_exact(h)) {
            add(&mut embedding[*token as usize * h..][..h], d);
        }
    }
}

/// The adapters on all rows, and on the picked ones, of which there is one per target.
fn adapted<'a>(runs: &'a [RunRows<'a>]) -> (Vec<AdaptedRows<'a>>, Vec<AdaptedRows<'a>>) {
    let on = |rows: fn(&RunRows<'_>) -> Range<usize>| {
        runs.iter().map(|r| AdaptedRows { rows: rows(r), panels: r.panels }).collect()
    };
    (on(|r| r.rows.clone()), on(|r| r.targets.clone()))
}

fn layer<'a>(
    model: &Model<'a>,
    batch: &'a Batch,
    index: usize,
    adapters: &'a [AdaptedRows<'a>],
    picked_adapters: &'a [AdaptedRows<'a>],
    picked: &'a [usize],
) -> Layer<'a> {
    let last = index + 1 == model.config.num_hidden_layers && picked.len() < batch.rows();
    Layer {
        index,
        config: model.config,
        architecture: model.architecture,
        ropes: model.ropes,
        weights: &model.weights.layers[index],
        panels: &model.panels.layers[index],
        positions: &batch.positions,
        adapters,
        picked: last.then_some(Picked { rows: picked, adapters: picked_adapters }),
    }
}
