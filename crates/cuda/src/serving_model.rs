//! The decoder on the device behind the engine's trait.

use crate::{DeviceDecoder, page_bytes};
use openledger_model::serving::{SequenceStep, ServingAdapter};
use openledger_openlora::{Model, Step};

impl Model for DeviceDecoder {
    type Adapter = ServingAdapter;

    fn vocabulary(&self) -> usize {
        self.config().vocab_size
    }

    fn context(&self) -> usize {
        self.config().max_position_embeddings
    }

    fn pages(&self) -> usize {
        DeviceDecoder::pages(self)
    }

    fn page_bytes(&self) -> usize {
        page_bytes(self.config(), self.kv_form())
    }

    fn step(
        &mut self,
        batch: &[Step<'_, ServingAdapter>],
    ) -> Result<Vec<Option<Vec<f32>>>, String> {
        let batch: Vec<SequenceStep<'_>> = batch
            .iter()
            .map(|step| SequenceStep {
                tokens: step.tokens,
                before: step.before,
                pages: step.pages,
                adapters: step.adapters,
                logits_wanted: step.logits_wanted,
            })
            .collect();
        DeviceDecoder::step(self, &batch).map_err(|error| error.to_string())
    }
}
