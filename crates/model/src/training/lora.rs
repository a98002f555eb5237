//! Training of an adapter over a frozen base.

use super::Batch;
use super::pass::{Model, Pass};
use crate::layer::{Gradients, LoraTraining};
use crate::lora_panels::LoraPanels;
use crate::{Decoder, Error, LoraLayout};

/// Computes losses and gradients of an adapter. Holds the buffers of a run.
#[derive(Debug)]
pub struct LoraTrainer<'a> {
    base: &'a Decoder,
    layout: &'a LoraLayout,
    panels: LoraPanels,
    pass: Pass,
}

impl<'a> LoraTrainer<'a> {
    /// Errors: [`Error::Request`] if the base was loaded without what training needs.
    pub fn new(base: &'a Decoder, layout: &'a LoraLayout) -> Result<Self, Error> {
        if !base.for_training {
            return Err(Error::Request("the base was loaded for inference only".into()));
        }
        let panels = LoraPanels::new(layout, &vec![0.0; layout.len()], true);
        Ok(Self { base, layout, panels, pass: Pass::default() })
    }

    /// Loss of one batch, Σ −weight · ln p over its targets, and its gradient, which overwrites `gradients`.
    /// An empty batch has loss zero and gradient zero.
    ///
    /// `values` and `gradients` are as long as the layout.
    pub fn loss_and_gradients(
        &mut self,
        values: &[f32],
        batch: &Batch,
        gradients: &mut [f32],
    ) -> f64 {
        if batch.rows() == 0 {
            gradients.fill(0.0);
            return 0.0;
        }
        let Self { base, layout, panels, pass } = self;
        panels.set(layout, values, true);
        let model = Model {
            config: &base.config,
            rope: &base.rope,
            weights: &base.weights,
            panels: &base.panels,
            lora: Some(panels),
        };
        pass.forward(&model, batch);
        let loss = pass.loss(&model, batch, None);
        let mut gradients = Gradients::Lora(LoraTraining { layout, panels, gradients });
        pass.backward(&model, batch, false, &mut gradients);
        loss
    }
}
