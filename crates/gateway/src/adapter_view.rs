//! An engine's adapters as both APIs list them.

use openledger_openlora::{AdapterInfo, Capacity, Handle as Engine};
use serde::Deserialize;
use serde_json::{Value, json};

/// Adapters listed at once where the request does not say.
const PAGE_DEFAULT: usize = 100;
/// Adapters listed at once at most.
const PAGE_MAX: usize = 1_000;

/// Query of a listing: in the order of registration, so many after the first so many.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    pub(crate) skip: usize,
    limit: Option<usize>,
}

impl Page {
    /// The adapters of the page, and whether more follow.
    pub(crate) fn of(&self, engine: &Engine) -> (Vec<AdapterInfo>, bool) {
        let limit = self.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
        let mut adapters = engine.adapters(self.skip, limit + 1);
        let has_more = adapters.len() > limit;
        adapters.truncate(limit);
        (adapters, has_more)
    }
}

/// `GET /v1/adapters`: with what is in memory and what could not be read.
pub(crate) fn adapters(engine: &Engine, page: &Page) -> Value {
    let (adapters, has_more) = page.of(engine);
    let data: Vec<Value> = adapters.iter().map(listed).collect();
    let total = engine.capacity().adapters_registered;
    json!({ "object": "list", "data": data, "has_more": has_more, "total": total })
}

/// Where an adapter lies on our disk is nobody's business.
fn listed(adapter: &AdapterInfo) -> Value {
    json!({
        "id": adapter.name,
        "object": "adapter",
        "hash": adapter.hash.map(|hash| hash.to_string()),
        "resident": adapter.resident_bytes.is_some(),
        "resident_bytes": adapter.resident_bytes,
        "file_bytes": adapter.file_bytes,
        "pinned": adapter.pinned,
        "error": adapter.broken,
    })
}

/// `GET /v1/adapters/capacity`.
pub(crate) fn capacity(engine: &Engine) -> Value {
    let Capacity {
        memory_bytes,
        adapter_bytes,
        running_bytes,
        available_bytes,
        token_bytes,
        adapters_registered,
        adapters_resident,
        adapter_bytes_mean,
        adapters_resident_max,
        longest_sequences_max,
    } = engine.capacity();
    json!({
        "object": "adapter_capacity",
        "memory_bytes": memory_bytes,
        "adapter_bytes": adapter_bytes,
        "running_bytes": running_bytes,
        "available_bytes": available_bytes,
        "token_bytes": token_bytes,
        "adapters_registered": adapters_registered,
        "adapters_resident": adapters_resident,
        "adapter_bytes_mean": adapter_bytes_mean,
        "adapters_resident_max": adapters_resident_max,
        "longest_sequences_max": longest_sequences_max,
    })
}
