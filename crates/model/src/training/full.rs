//! Training of every weight.

use super::Batch;
use super::loss::total;
use super::pass::{Model, Pass};
use crate::layer::Gradients;
use crate::panels::Panels;
use crate::{Architecture, DecoderConfig, Weights};
use openledger_tensor::RopeTable;

/// Computes losses and gradients of all weights. Holds the buffers of a run.
#[derive(Debug)]
pub struct FullTrainer {
    config: DecoderConfig,
    architecture: Architecture,
    ropes: Vec<RopeTable>,
    panels: Panels,
    pass: Pass,
}

impl FullTrainer {
    /// For models of this shape.
    pub fn new(config: &DecoderConfig) -> Self {
        let panels = Panels::new(config, &Weights::zeros(config), true);
        let architecture = config.checked_architecture();
        let ropes = crate::decoder::rope_tables(config, &architecture);
        Self { config: config.clone(), architecture, ropes, panels, pass: Pass::default() }
    }

    /// Loss of one batch, Σ −weight · ln p over its targets, and its gradient, which overwrites `gradients`.
    pub fn loss_and_gradients(
        &mut self,
        weights: &Weights,
        batch: &Batch,
        gradients: &mut Weights,
    ) -> f64 {
        self.panels.set(&self.config, weights, true);
        let Self { config, architecture, ropes, panels, pass } = self;
        let (runs, kept_layers) = (&[][..], usize::MAX);
        let model = Model { config, architecture, ropes, weights, panels, runs, kept_layers };
        pass.forward(&model, batch);
        let Weights { embedding, layers, norm, head } = gradients;
        embedding.fill(0.0);
        norm.fill(0.0);
        for l in layers.iter_mut() {
            l.attention_norm.fill(0.0);
            l.feed_forward_norm.fill(0.0);
        }
        let d_head = match head {
            Some(head) => {
                head.fill(0.0);
                head
            }
            None => &mut *embedding,
        };
        let likelihoods = pass.loss(&model, batch, Some((d_head, norm)));
        pass.backward(&model, batch, true, &mut Gradients::Full(layers));
        pass.embedding_gradient(&model, batch, embedding);
        total(&batch.targets, &likelihoods, 0..likelihoods.len())
    }

    /// Loss of one batch alone.
    pub fn loss(&mut self, weights: &Weights, batch: &Batch) -> f64 {
        self.panels.set(&self.config, weights, true);
        let Self { config, architecture, ropes, panels, pass } = self;
        let (runs, kept_layers) = (&[][..], usize::MAX);
        let model = Model { config, architecture, ropes, weights, panels, runs, kept_layers };
        pass.forward(&model, batch);
        let likelihoods = pass.loss(&model, batch, None);
        total(&batch.targets, &likelihoods, 0..likelihoods.len())
    }
}
