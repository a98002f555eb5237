//! The decoder on the device behind the engine's trait.

use crate::{DeviceDecoder, page_bytes};
use openledger_model::serving::{SequenceStep, ServingAdapter, ServingDecoder};
use openledger_openlora::{Model, Step};

impl Model for DeviceDecoder {
    type Adapter = ServingAdapter;
    // Nothing is merged here.
    type Merged = ServingDecoder;

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
        batch: &[Step<'_, ServingAdapter, ServingDecoder>],
    ) -> Result<Vec<Option<Vec<f32>>>, String> {
        if batch.iter().any(|step| step.merged.is_some()) {
            return Err("a device reads no merged copies".into());
        }
        let batch: Vec<SequenceStep<'_>> = batch.iter().map(Step::as_sequence_step).collect();
        DeviceDecoder::step(self, &batch).map_err(|error| error.to_string())
    }
}
