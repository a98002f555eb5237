//! Training of every weight.

use super::Batch;
use super::loss::total;
use super::pass::{Model, Pass};
use crate::layer::Gradients;
use crate::panels::Panels;
use crate::{Architecture, DecoderConfig, Error, Weights};
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
    ///
    /// Errors: [`Error::Request`] for layers that are not those of the first Llama: the gradients of biases and
    /// of further norms are not computed. Adapters of such models can be trained.
    pub fn new(config: &DecoderConfig) -> Result<Self, Error> {
        let architecture = config.architecture()?;
        if !architecture.is_plain(config.heads()) {
            return Err(Error::Request(format!(
                "all weights of a {} model cannot be trained, only those of a plain llama; train an adapter",
                config.model_type
            )));
        }
        let panels = Panels::new(config, &Weights::zeros(config), true);
        let ropes = crate::decoder::rope_tables(config, &architecture);
        Ok(Self { config: config.clone(), architecture, ropes, panels, pass: Pass::default() })
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
