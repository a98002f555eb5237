//! Forward and backward through all layers.

use super::Batch;
use crate::layer::{BackwardBuffers, Gradients, Layer, LayerBackward, LayerBuffers, Picked, add};
use crate::lora_panels::{AdaptedRows, LoraPanels};
use crate::panels::Panels;
use crate::{DecoderConfig, Weights};
use openledger_tensor::{RopeTable, attention};

/// What a pass reads.
pub(super) struct Model<'a> {
    pub(super) config: &'a DecoderConfig,
    pub(super) rope: &'a RopeTable,
    pub(super) weights: &'a Weights,
    pub(super) panels: &'a Panels,
    pub(super) lora: Option<&'a LoraPanels>,
}

/// The buffers of a pass.
#[derive(Debug, Default)]
pub(super) struct Pass {
    layers: Vec<LayerBuffers>,
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
        }
        let (all, few) = adapted(model.lora, batch.rows(), self.picked.len());
        let heads = model.config.heads();
        for i in 0..self.layers.len() {
            let (before, after) = self.layers.split_at_mut(i + 1);
            let next = after.first_mut().map_or(&mut self.last, |l| &mut l.stream);
            layer(model, batch, i, &all, &few, &self.picked).forward(
                &mut before[i],
                next,
                |qkv, out| {
                    attention(heads, qkv, &batch.sequences, out);
                },
            );
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
        let (all, few) = adapted(model.lora, batch.rows(), self.picked.len());
        for (i, kept) in self.layers.iter_mut().enumerate().rev() {
            let back = LayerBackward {
                layer: layer(model, batch, i, &all, &few, &self.picked),
                sequences: &batch.sequences,
                input_wanted: input_wanted || i > 0,
            };
            back.run(kept, &mut self.back, gradients);
        }
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

/// The adapter on all rows, and on the picked ones.
fn adapted(
    lora: Option<&LoraPanels>,
    rows: usize,
    picked: usize,
) -> (Vec<AdaptedRows<'_>>, Vec<AdaptedRows<'_>>) {
    let on = |rows| lora.map(|panels| AdaptedRows { rows: 0..rows, panels }).into_iter().collect();
    (on(rows), on(picked))
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
        rope: model.rope,
        weights: &model.weights.layers[index],
        panels: &model.panels.layers[index],
        positions: &batch.positions,
        adapters,
        picked: last.then_some(Picked { rows: picked, adapters: picked_adapters }),
    }
}
