use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use openledger_model::Adapter;

use crate::{AdapterHash, Error};

/// Adapters in memory, by content hash. Registering one twice is one adapter.
#[derive(Debug, Default)]
pub(crate) struct AdapterStore {
    adapters: RwLock<HashMap<AdapterHash, Arc<Adapter>>>,
}

impl AdapterStore {
    pub(crate) fn register(&self, adapter: Adapter) -> AdapterHash {
        let hash = AdapterHash(adapter.hash());
        let mut adapters = self.adapters.write().unwrap_or_else(PoisonError::into_inner);
        adapters.entry(hash).or_insert_with(|| Arc::new(adapter));
        hash
    }

    /// The adapter, or `None` for the base. Errors: [`Error::UnknownAdapter`].
    pub(crate) fn get(&self, hash: Option<AdapterHash>) -> Result<Option<Arc<Adapter>>, Error> {
        let Some(hash) = hash else { return Ok(None) };
        let adapters = self.adapters.read().unwrap_or_else(PoisonError::into_inner);
        adapters.get(&hash).cloned().map(Some).ok_or(Error::UnknownAdapter(hash))
    }
}
