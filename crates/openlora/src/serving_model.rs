//! The decoder of `openledger_model` behind the engine's traits.

use std::sync::Arc;

use openledger_model::{
    Adapter, Decoder,
    serving::{KvPages, LowRankForm, SequenceStep, ServingAdapter, ServingDecoder},
};

use crate::{
    AdapterHash,
    adapter_catalog::AdapterSource,
    loader_pool::{AdapterLoader, LoadedAdapter},
    model::{Model, Step},
};

/// A serving decoder with its pages.
#[derive(Debug)]
pub struct ServingModel {
    decoder: ServingDecoder,
    pages: KvPages,
}

impl ServingModel {
    /// With as many pages as fit in `memory_bytes`; memory is taken as pages are asked for.
    pub fn new(decoder: ServingDecoder, memory_bytes: usize) -> Self {
        let page_bytes = KvPages::page_bytes(decoder.config(), decoder.kv_form());
        let pages = decoder.pages(memory_bytes / page_bytes);
        Self { decoder, pages }
    }
}

impl Model for ServingModel {
    type Adapter = ServingAdapter;

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
        self.decoder.step(&mut self.pages, &batch).map_err(|error| error.to_string())
    }
}

/// Reads adapters made for one base: PEFT folders, which are packed, and files that are packed already,
/// which are mapped.
#[derive(Debug)]
pub struct ServingLoader {
    base: Arc<Decoder>,
    form: LowRankForm,
}

impl ServingLoader {
    /// For adapters of this base. What is not packed yet is packed in `form`.
    pub fn new(base: Arc<Decoder>, form: LowRankForm) -> Self {
        Self { base, form }
    }
}

impl AdapterLoader for ServingLoader {
    type Adapter = ServingAdapter;

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
}
