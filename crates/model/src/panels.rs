//! The matrices of a decoder packed for products.

use crate::{DecoderConfig, Weights};
use openledger_tensor::{PackedMatrix, for_each_mut};

/// One linear layer y = x · Wᵀ, packed for the forward and, where wanted, the backward product.
#[derive(Clone, Debug, Default)]
pub(crate) struct Linear {
    /// [in, out].
    pub(crate) forward: PackedMatrix,
    /// [out, in]; empty where no gradients are wanted.
    pub(crate) backward: PackedMatrix,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

impl Linear {
    fn set(&mut self, weight: &[f32], inputs: usize, backward: bool) {
        self.inputs = inputs;
        self.outputs = weight.len() / inputs;
        self.forward.set_columns(weight, inputs, self.outputs, inputs);
        if backward {
            self.backward.set_rows(weight, self.outputs, inputs, inputs);
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct LayerPanels {
    pub(crate) qkv: Linear,
    pub(crate) output: Linear,
    pub(crate) gate_up: Linear,
    pub(crate) down: Linear,
}

/// Every matrix of a decoder, packed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Panels {
    pub(crate) layers: Vec<LayerPanels>,
    pub(crate) head: Linear,
}

impl Panels {
    pub(crate) fn new(config: &DecoderConfig, weights: &Weights, backward: bool) -> Self {
        let layers = vec![LayerPanels::default(); config.num_hidden_layers];
        let mut panels = Self { layers, head: Linear::default() };
        panels.set(config, weights, backward);
        panels
    }

    /// Packs changed weights again.
    pub(crate) fn set(&mut self, config: &DecoderConfig, weights: &Weights, backward: bool) {
        let (h, f) = (config.hidden_size, config.intermediate_size);
        let heads = config.heads();
        let attention = heads.query * heads.dim;
        let mut jobs: Vec<(&mut Linear, &[f32], usize)> = Vec::new();
        for (p, w) in self.layers.iter_mut().zip(&weights.layers) {
            jobs.push((&mut p.qkv, &w.qkv, h));
            jobs.push((&mut p.output, &w.output, attention));
            jobs.push((&mut p.gate_up, &w.gate_up, h));
            jobs.push((&mut p.down, &w.down, f));
        }
        jobs.push((&mut self.head, weights.head.as_ref().unwrap_or(&weights.embedding), h));
        for_each_mut(&mut jobs, |(linear, weight, inputs)| linear.set(weight, *inputs, backward));
    }
}
