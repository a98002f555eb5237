//! What there is and what is in memory: `/v1/models`, `/v1/adapters`, loading and unloading.

use std::path::{Component, Path};

use openledger_openlora::AdapterInfo;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ModelServer, by_name};
use crate::openai::ApiError;

/// Adapters listed at once where the request does not say.
const PAGE_DEFAULT: usize = 100;
/// Adapters listed at once at most.
const PAGE_MAX: usize = 1_000;

/// Query of a listing: in the order of registration, so many after the first so many.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Page {
    #[serde(default)]
    skip: usize,
    limit: Option<usize>,
}

/// Body of `POST /v1/load_lora_adapter`, as vLLM's.
#[derive(Debug, Deserialize)]
pub(super) struct Load {
    lora_name: String,
    /// A PEFT folder below the server's adapter folder.
    lora_path: String,
}

/// Body of `POST /v1/unload_lora_adapter`, as vLLM's.
#[derive(Debug, Deserialize)]
pub(super) struct Unload {
    lora_name: String,
}

impl ModelServer {
    /// `GET /v1/models`: the base and, up to the limit of one page, its adapters.
    pub(super) fn models(&self, page: &Page) -> Value {
        let base = (page.skip == 0).then(|| self.base_model());
        let (adapters, has_more) = self.page(page);
        let adapters = adapters.iter().map(|adapter| self.adapter_model(adapter));
        let data: Vec<Value> = base.into_iter().chain(adapters).collect();
        json!({ "object": "list", "data": data, "has_more": has_more })
    }

    /// `GET /v1/models/{model}`.
    pub(super) fn model(&self, name: &str) -> Result<Value, ApiError> {
        if name == self.name {
            return Ok(self.base_model());
        }
        let adapter = self.text.engine.adapter(&by_name(name))?;
        Ok(self.adapter_model(&adapter))
    }

    /// `GET /v1/adapters`: with what is in memory and what could not be read.
    pub(super) fn adapters(&self, page: &Page) -> Value {
        let (adapters, has_more) = self.page(page);
        let data: Vec<Value> = adapters.iter().map(listed).collect();
        json!({ "object": "list", "data": data, "has_more": has_more })
    }

    /// `GET /v1/adapters/capacity`.
    pub(super) fn capacity(&self) -> Value {
        let capacity = self.text.engine.capacity();
        json!({
            "object": "capacity",
            "memory_bytes": capacity.memory_bytes,
            "adapter_bytes": capacity.adapter_bytes,
            "running_bytes": capacity.running_bytes,
            "available_bytes": capacity.available_bytes,
            "token_bytes": capacity.token_bytes,
            "adapters_registered": capacity.adapters_registered,
            "adapters_resident": capacity.adapters_resident,
            "adapter_bytes_mean": capacity.adapter_bytes_mean,
            "adapters_resident_max": capacity.adapters_resident_max,
            "longest_sequences_max": capacity.longest_sequences_max,
        })
    }

    /// `GET /metrics`, in the text format of Prometheus.
    pub(super) fn metrics(&self) -> String {
        self.text.engine.metrics().to_prometheus()
    }

    /// `POST /v1/load_lora_adapter`: makes a folder callable; it is read at its first request.
    pub(super) fn load(&self, load: &Load) -> Result<String, ApiError> {
        let Some(root) = &self.adapters_dir else {
            let message = "This server has no adapter folder: start it with --adapters DIR.";
            return Err(ApiError::invalid("lora_path", message));
        };
        if load.lora_name == self.name {
            return Err(ApiError::invalid("lora_name", "This is the name of the base."));
        }
        let path = below(root, Path::new(&load.lora_path)).ok_or_else(|| {
            let message =
                "`lora_path` must name a folder below the server's adapter folder, without `..`.";
            ApiError::invalid("lora_path", message)
        })?;
        self.text.engine.register_folder(&load.lora_name, &path)?;
        Ok(format!("Success: LoRA adapter '{}' added successfully.", load.lora_name))
    }

    /// `POST /v1/unload_lora_adapter`: what runs with it is finished.
    pub(super) fn unload(&self, unload: &Unload) -> Result<String, ApiError> {
        self.text.engine.unregister(&by_name(&unload.lora_name))?;
        Ok(format!("Success: LoRA adapter '{}' removed successfully.", unload.lora_name))
    }

    fn page(&self, page: &Page) -> (Vec<AdapterInfo>, bool) {
        let limit = page.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
        let mut adapters = self.text.engine.adapters(page.skip, limit + 1);
        let has_more = adapters.len() > limit;
        adapters.truncate(limit);
        (adapters, has_more)
    }

    fn base_model(&self) -> Value {
        json!({
            "id": self.name, "object": "model", "created": self.started_at,
            "owned_by": "openledger", "root": self.name, "parent": null,
            "max_model_len": self.text.context_tokens,
        })
    }

    fn adapter_model(&self, adapter: &AdapterInfo) -> Value {
        json!({
            "id": adapter.name, "object": "model", "created": self.started_at,
            "owned_by": "openledger", "root": adapter.name, "parent": self.name,
            "max_model_len": self.text.context_tokens,
        })
    }
}

fn listed(adapter: &AdapterInfo) -> Value {
    json!({
        "id": adapter.name, "object": "adapter",
        "hash": adapter.hash.map(|hash| hash.to_string()),
        "resident": adapter.resident_bytes.is_some(),
        "bytes": adapter.resident_bytes,
        "error": adapter.broken,
    })
}

/// `path` under `root`, whether it is written from there or in full; `None` if it leads elsewhere, through
/// links too.
fn below(root: &Path, path: &Path) -> Option<std::path::PathBuf> {
    if path.components().any(|part| matches!(part, Component::ParentDir)) {
        return None;
    }
    let root = root.canonicalize().ok()?;
    let found = root.join(path).canonicalize().ok()?;
    (found.starts_with(&root) && found != root && found.is_dir()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_folders_below_the_root_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("adapters");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        let found = |path: &str| below(&root, Path::new(path)).is_some();
        assert!(found("a") && found("a/b"));
        assert!(found(root.join("a").to_str().unwrap()));
        assert!(!found("../elsewhere") && !found("a/../../elsewhere") && !found("/etc"));
        assert!(!found("file") && !found("missing") && !found("") && !found("."));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(dir.path().join("elsewhere"), root.join("link")).unwrap();
            assert!(!found("link"));
        }
    }
}
