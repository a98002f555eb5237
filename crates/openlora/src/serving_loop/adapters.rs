//! What the loop does with adapters: has them read, keeps those that arrive, pins them and lets them go.

use std::{
    mem,
    sync::{Arc, PoisonError},
};

use tokio::sync::oneshot;

use super::ServingLoop;
use crate::{
    AdapterId, Error,
    loader_pool::{AdapterLoader, Arrival},
    model::Model,
    residency::Presence,
    scheduler::Plan,
};

impl<M, L> ServingLoop<M, L>
where
    M: Model,
    L: AdapterLoader<Adapter = M::Adapter, Merged = M::Merged>,
{
    /// Tells the scheduler what is known of the sizes of adapters. Returns their names.
    pub(super) fn learn_sizes(&mut self, blend: &[(AdapterId, f32)]) -> Vec<Arc<str>> {
        let catalog = self.shared.catalog();
        for (id, _) in blend {
            if let Some((_, file_bytes)) = catalog.source(*id)
                && self.scheduler.memory().presence(*id) == Presence::Absent
            {
                let bytes = self.loader.bytes_expected(file_bytes);
                self.scheduler.expect_adapter_pages(*id, bytes.div_ceil(self.model.page_bytes()));
            }
        }
        catalog.names(blend)
    }

    pub(super) fn pin(
        &mut self,
        id: AdapterId,
        pinned: bool,
        reply: oneshot::Sender<Result<(), Error>>,
    ) {
        if !pinned {
            self.scheduler.memory_mut().set_pinned(id, false);
            self.shared.catalog_mut().set_pinned(id, false);
            drop(reply.send(Ok(())));
            return;
        }
        self.learn_sizes(&[(id, 1.0)]);
        match self.scheduler.begin_pin(id) {
            Ok(None) => {
                self.shared.catalog_mut().set_pinned(id, true);
                drop(reply.send(Ok(())));
            }
            Ok(Some(load)) => {
                self.pins.entry(id).or_default().push(reply);
                if load {
                    self.load(id);
                }
            }
            Err((needed, there)) => drop(reply.send(Err(Error::Memory { needed, there }))),
        }
    }

    fn unload(&mut self, id: AdapterId) {
        self.scheduler.memory_mut().set_pinned(id, false);
        self.scheduler.memory_mut().unload(id);
        self.merging.let_go(|blend| blend.iter().any(|(adapter, _)| *adapter == id));
    }

    /// Forgets adapters without a name once no answer is promised them.
    pub(super) fn let_unnamed_go(&mut self) {
        let scheduler = &self.scheduler;
        let gone: Vec<AdapterId> =
            self.unnamed.extract_if(.., |id| !scheduler.wants(*id)).collect();
        for id in gone {
            self.unload(id);
            self.shared.catalog_mut().let_go(id);
        }
    }

    pub(super) fn take_arrivals(&mut self) {
        let arrivals =
            mem::take(&mut *self.arrivals.lock().unwrap_or_else(PoisonError::into_inner));
        for Arrival { id, result, micros } in arrivals {
            self.shared.metrics().adapter_load.observe(micros as f64 / 1e6);
            let result = result.and_then(|loaded| {
                self.shared.catalog_mut().arrived(id, loaded.hash, loaded.bytes)?;
                Ok(loaded)
            });
            match result {
                Ok(loaded) => {
                    let pages = loaded.bytes.div_ceil(self.model.page_bytes());
                    let (kept, hopeless) = self.scheduler.loaded(id, pages, micros);
                    if kept {
                        self.resident.insert(id, loaded.adapter);
                        self.shared.metrics().adapter_loads += 1;
                    } else {
                        self.shared.catalog_mut().gone(id);
                    }
                    for sequence in hopeless {
                        let (needed, there) = (pages, self.model.pages());
                        self.fail_sequence(sequence, Error::Memory { needed, there });
                    }
                    self.finish_pin(id, kept);
                }
                Err(why) => self.not_loaded(id, why),
            }
        }
    }

    fn finish_pin(&mut self, id: AdapterId, kept: bool) {
        let replies = self.pins.remove(&id).unwrap_or_default();
        if replies.is_empty() {
            return;
        }
        let memory = self.scheduler.memory();
        let no_room = (memory.pool().charged() + 1, memory.available());
        let outcome = if kept { self.scheduler.begin_pin(id).map(drop) } else { Err(no_room) };
        let outcome = outcome.map_err(|(needed, there)| Error::Memory { needed, there });
        self.shared.catalog_mut().set_pinned(id, outcome.is_ok());
        replies.into_iter().for_each(|reply| drop(reply.send(outcome.clone())));
    }

    fn not_loaded(&mut self, id: AdapterId, why: String) {
        tracing::warn!(adapter = id.0, why, "an adapter could not be loaded");
        let error = self.shared.catalog_mut().failed(id, why, self.shared.now());
        self.shared.metrics().adapter_load_failures += 1;
        for sequence in self.scheduler.load_failed(id) {
            self.fail_sequence(sequence, error.clone());
        }
        for reply in self.pins.remove(&id).unwrap_or_default() {
            drop(reply.send(Err(error.clone())));
        }
    }

    /// Drops what gave way and begins to load what is needed.
    pub(super) fn move_adapters(&mut self, plan: &Plan) {
        self.drop_evicted();
        plan.loads.iter().for_each(|id| self.load(*id));
    }

    pub(super) fn drop_evicted(&mut self) {
        for id in self.scheduler.memory_mut().take_evicted() {
            self.resident.remove(&id);
            self.shared.catalog_mut().gone(id);
        }
    }

    fn load(&mut self, id: AdapterId) {
        let source = self.shared.catalog().source(id);
        match source {
            Some((source, _)) => self.loaders.load(id, source),
            None => self.not_loaded(id, "it is no longer registered".to_owned()),
        }
    }
}
