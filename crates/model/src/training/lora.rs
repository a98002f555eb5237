//! Training of adapters over a frozen base: one run, or several in one batch.

use super::Batch;
use super::pass::{Model, Pass, RunRows};
use crate::layer::{Gradients, LoraTraining};
use crate::lora_panels::LoraPanels;
use crate::panels::Panels;
use crate::{Decoder, Error, LoraLayout};
use openledger_tensor::Bf16Matrix;
use serde::{Deserialize, Serialize};

/// The arithmetic of a training run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// f32 in a fixed order: the same adapter on every machine. The only one for which payouts can be
    /// computed from counterfactual adapters, because only such a training can be repeated by others.
    #[default]
    Exact,
    /// Products with the base in bf16 where the processor is faster at them, else as `exact`. Not
    /// reproducible: two machines may give two adapters, so there are no counterfactual payouts.
    Fast,
}

/// One run's part of a step.
#[derive(Debug)]
pub struct RunStep<'a> {
    /// Values of its adapter, as long as the layout.
    pub values: &'a [f32],
    /// What it reads; may be empty.
    pub batch: &'a Batch,
    /// As long as the layout; overwritten.
    pub gradients: &'a mut [f32],
    /// Σ −weight · ln p over the targets of the batch; overwritten.
    pub loss: f64,
}

/// Computes losses and gradients of adapters of one layout. Holds the buffers of a run.
#[derive(Debug)]
pub struct LoraTrainer<'a> {
    base: &'a Decoder,
    layout: &'a LoraLayout,
    /// One per run of the last step.
    panels: Vec<LoraPanels>,
    /// The base in bf16, where that is wanted and possible.
    fast: Option<Panels>,
    kept_layers: usize,
    batch: Batch,
    pass: Pass,
}

impl<'a> LoraTrainer<'a> {
    /// Errors: [`Error::Request`] if the base was loaded without what training needs.
    pub fn new(base: &'a Decoder, layout: &'a LoraLayout) -> Result<Self, Error> {
        if !base.for_training {
            return Err(Error::Request("the base was loaded for inference only".into()));
        }
        Ok(Self {
            base,
            layout,
            panels: Vec::new(),
            fast: None,
            kept_layers: usize::MAX,
            batch: Batch::default(),
            pass: Pass::default(),
        })
    }

    /// With this arithmetic instead of the exact one.
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.fast = None;
        if precision == Precision::Fast && Bf16Matrix::pays() {
            return self.with_bf16_products();
        }
        self
    }

    /// With products in bf16 wherever the processor has them, even where the exact ones are faster: to
    /// measure and to test.
    pub fn with_bf16_products(mut self) -> Self {
        self.fast = self.base.panels.to_bf16();
        self
    }

    /// Keeps what the forward pass of the last `layers` layers leaves, and computes that of the others
    /// again when the backward pass needs it: less memory, up to a third more time, the same bits.
    pub fn keeping_layers(mut self, layers: usize) -> Self {
        self.kept_layers = layers;
        self
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
        let mut runs = [RunStep { values, batch, gradients, loss: 0.0 }];
        self.losses_and_gradients(&mut runs);
        runs[0].loss
    }

    /// As [`Self::loss_and_gradients`], for several runs at once: their rows share the products with the
    /// base. Each result is the same to the bit as that of the run alone.
    pub fn losses_and_gradients(&mut self, runs: &mut [RunStep<'_>]) {
        let Self { base, layout, panels, fast, kept_layers, batch, pass } = self;
        if let [run] = runs {
            // No copy for the common case.
            batch.clone_from(run.batch);
        } else {
            batch.clear();
            runs.iter().for_each(|run| batch.append(run.batch));
        }
        if batch.rows() == 0 {
            for run in runs {
                run.gradients.fill(0.0);
                run.loss = 0.0;
            }
            return;
        }
        panels.resize_with(runs.len(), || LoraPanels::new(layout, &vec![0.0; layout.len()], true));
        for (panels, run) in panels.iter_mut().zip(runs.iter()) {
            panels.set(layout, run.values, true);
        }
        let (mut row, mut target) = (0, 0);
        let rows: Vec<RunRows<'_>> = panels
            .iter()
            .zip(runs.iter())
            .map(|(panels, run)| {
                let before = (row, target);
                (row, target) = (row + run.batch.rows(), target + run.batch.targets().len());
                RunRows { panels, rows: before.0..row, targets: before.1..target }
            })
            .collect();
        let model = Model {
            config: &base.config,
            architecture: &base.architecture,
            ropes: &base.ropes,
            weights: &base.weights,
            panels: fast.as_ref().unwrap_or(&base.panels),
            runs: &rows,
            kept_layers: *kept_layers,
        };
        pass.forward(&model, batch);
        let likelihoods = pass.loss(&model, batch, None);
        let mut gradients = Vec::with_capacity(runs.len());
        for (run, RunRows { targets, .. }) in runs.iter_mut().zip(&rows) {
            run.loss = super::loss::total(&batch.targets, &likelihoods, targets.clone());
            gradients.push(&mut *run.gradients);
        }
        let mut gradients = Gradients::Lora(LoraTraining { layout, gradients: &mut gradients });
        pass.backward(&model, batch, false, &mut gradients);
    }

    /// Memory of what the forward passes so far left behind.
    pub fn activation_bytes(&self) -> usize {
        self.pass.activation_bytes()
    }
}
