//! The decoder of `openledger_model` behind the engine's traits.

use std::sync::Arc;

use openledger_model::{
    Adapter, Decoder,
    serving::{KvPages, LowRankForm, SequenceStep, ServingAdapter, ServingDecoder},
};

use openledger_tensor::with_threads;

use crate::{
    AdapterHash,
    adapter_catalog::AdapterSource,
    loader_pool::{AdapterLoader, LoadedAdapter},
    model::{Model, Step},
};

/// A serving decoder with its pages.
#[derive(Debug)]
pub struct ServingModel {
    decoder: Arc<ServingDecoder>,
    pages: KvPages,
}

impl ServingModel {
    /// With as many pages as fit in `memory_bytes`; memory is taken as pages are asked for.
    pub fn new(decoder: Arc<ServingDecoder>, memory_bytes: usize) -> Self {
        let page_bytes = KvPages::page_bytes(decoder.config(), decoder.kv_form());
        let pages = decoder.pages(memory_bytes / page_bytes);
        Self { decoder, pages }
    }
}

impl Model for ServingModel {
    type Adapter = ServingAdapter;
    type Merged = ServingDecoder;

    fn vocabulary(&self) -> usize {
        self.decoder.config().vocab_size
    }

    fn context(&self) -> usize {
        self.decoder.config().max_position_embeddings
    }

    fn pages(&self) -> usize {
        self.pages.pages()
    }

    fn pages_taken(&self) -> usize {
        self.pages.pages_taken()
    }

    fn give_back(&mut self, pages: usize) {
        self.pages.give_back(pages);
    }

    fn page_bytes(&self) -> usize {
        KvPages::page_bytes(self.decoder.config(), self.decoder.kv_form())
    }

    fn step(
        &mut self,
        batch: &[Step<'_, ServingAdapter, ServingDecoder>],
    ) -> Result<Vec<Option<Vec<f32>>>, String> {
        let mut logits = Vec::with_capacity(batch.len());
        // Neighbours share weights where that is possible.
        for part in batch.chunk_by(|a, b| weights(a) == weights(b)) {
            let decoder = part[0].merged.unwrap_or(&self.decoder);
            let part: Vec<SequenceStep<'_>> = part.iter().map(Step::as_sequence_step).collect();
            let more = decoder.step(&mut self.pages, &part).map_err(|error| error.to_string())?;
            logits.extend(more);
        }
        Ok(logits)
    }
}

/// Which weights a step is read with.
fn weights(step: &Step<'_, ServingAdapter, ServingDecoder>) -> Option<*const ServingDecoder> {
    step.merged.map(Arc::as_ptr)
}

impl<'a, W> Step<'a, ServingAdapter, W> {
    /// As a decoder takes it.
    pub fn as_sequence_step(&self) -> SequenceStep<'a> {
        SequenceStep {
            tokens: self.tokens,
            before: self.before,
            pages: self.pages,
            adapters: self.adapters,
            logits_wanted: self.logits_wanted,
        }
    }
}

/// Reads adapters made for one base: PEFT folders, which are packed, and files that are packed already,
/// which are mapped.
#[derive(Debug)]
pub struct ServingLoader {
    base: Arc<Decoder>,
    form: LowRankForm,
    /// What blends are merged into.
    serving: Option<Arc<ServingDecoder>>,
}

impl ServingLoader {
    /// For adapters of this base. What is not packed yet is packed in `form`.
    pub fn new(base: Arc<Decoder>, form: LowRankForm) -> Self {
        Self { base, form, serving: None }
    }

    /// That merges blends into copies of `serving`, which is the same base.
    pub fn merging_into(self, serving: Arc<ServingDecoder>) -> Self {
        Self { serving: Some(serving), ..self }
    }
}

impl AdapterLoader for ServingLoader {
    type Adapter = ServingAdapter;
    type Merged = ServingDecoder;

    fn bytes_expected(&self, file_bytes: u64) -> usize {
        usize::try_from(file_bytes).unwrap_or(usize::MAX)
    }

    fn load(&self, source: &AdapterSource) -> Result<LoadedAdapter<ServingAdapter>, String> {
        let packed = match source {
            AdapterSource::Memory(adapter) => Ok(ServingAdapter::pack(adapter, self.form)),
            AdapterSource::Folder(path) => Adapter::load(path, &self.base)
                .map(|adapter| ServingAdapter::pack(&adapter, self.form)),
            AdapterSource::Packed(path) => ServingAdapter::open(path, self.base.hash()),
        };
        let packed = packed.map_err(|error| error.to_string())?;
        let (hash, bytes) = (AdapterHash(packed.hash()), packed.bytes());
        Ok(LoadedAdapter { adapter: Arc::new(packed), hash, bytes })
    }

    fn merged_bytes(&self, blend: &[(Arc<ServingAdapter>, f32)]) -> usize {
        self.serving.as_ref().map_or(0, |serving| serving.merged_bytes(blend))
    }

    fn merge(&self, blend: &[(Arc<ServingAdapter>, f32)]) -> Result<ServingDecoder, String> {
        let serving = self.serving.as_ref().ok_or("nothing is merged on this device")?;
        // One thread, so that answers under way keep the others.
        with_threads(1, || serving.merged(&self.base, blend)).map_err(|error| error.to_string())
    }
}
