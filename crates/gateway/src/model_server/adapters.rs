//! What there is: `/v1/models`, loading and unloading.

use std::path::{Component, Path, PathBuf};

use openledger_model::{Adapter, Error as ModelError, serving::ServingAdapter};
use openledger_openlora::{AdapterInfo, Metrics};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ModelServer, by_name};
use crate::adapter_view::Page;
use crate::openai::ApiError;

/// Body of `POST /v1/load_lora_adapter`, as vLLM's.
#[derive(Debug, Deserialize)]
pub(super) struct Load {
    lora_name: String,
    /// A PEFT folder, or a packed file, below the server's adapter folder.
    lora_path: String,
    /// Whether an adapter that has the name already is replaced.
    #[serde(default)]
    load_inplace: bool,
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
        let (adapters, has_more) = page.of(&self.text.engine);
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

    /// `GET /metrics`. What each tenant did is for who has the key.
    pub(super) fn metrics(&self, key: Option<&str>) -> Metrics {
        let metrics = self.text.engine.metrics();
        let all = self.authenticate(key).is_ok();
        if all { metrics } else { metrics.without_tenants() }
    }

    /// `POST /v1/load_lora_adapter`: makes a folder or a packed file callable, or nothing is changed. It is read
    /// here, to see that it can be served, and again at its first request.
    ///
    /// With `load_inplace` an adapter that has the name gives way; answers under way keep it to their end.
    pub(super) fn load(&self, load: &Load) -> Result<String, ApiError> {
        let Some(root) = &self.adapters_dir else {
            let message = "This server has no adapter folder: start it with --adapters DIR.";
            return Err(ApiError::invalid("lora_path", message));
        };
        if load.lora_name == self.name {
            return Err(ApiError::invalid("lora_name", "This is the name of the base."));
        }
        let path = below(root, Path::new(&load.lora_path)).ok_or_else(|| {
            let message = "`lora_path` must name a PEFT folder, or a file that `openledger adapter pack` \
                           wrote, below the server's adapter folder, without `..`; there is none.";
            ApiError::invalid("lora_path", message)
        })?;
        self.check(&path).map_err(|why| {
            let message = format!("The adapter at `{}` cannot be served: {why}.", load.lora_path);
            ApiError::invalid("lora_path", message)
        })?;
        let engine = &self.text.engine;
        match load.load_inplace {
            true => engine.replace_folder(&load.lora_name, &path)?,
            false => engine.register_folder(&load.lora_name, &path)?,
        }
        Ok(format!("Success: LoRA adapter '{}' added successfully.", load.lora_name))
    }

    /// Why an adapter cannot be served, if it cannot. Where it lies on our disk is not told.
    fn check(&self, path: &Path) -> Result<(), String> {
        let (read, what) = match path.is_dir() {
            true => (Adapter::load(path, &self.base).map(drop), "a PEFT folder"),
            false => (
                ServingAdapter::open(path, self.base.hash()).map(drop),
                "a file that `openledger adapter pack` wrote",
            ),
        };
        read.map_err(|error| match error {
            ModelError::File { path, source } => {
                let file = path.file_name().unwrap_or_default().display();
                format!("{what} is needed there, and {file} cannot be read: {source}")
            }
            ModelError::TooLarge { bytes, max, .. } => {
                format!("it has {bytes} bytes, more than the {max} that are read")
            }
            ModelError::Adapter(why) => format!("{what} for this base is needed there; {why}"),
            other => other.to_string(),
        })
    }

    /// `POST /v1/unload_lora_adapter`: what runs with it is finished.
    pub(super) fn unload(&self, unload: &Unload) -> Result<String, ApiError> {
        self.text.engine.unregister(&by_name(&unload.lora_name))?;
        Ok(format!("Success: LoRA adapter '{}' removed successfully.", unload.lora_name))
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

/// `path` under `root`, whether it is written from there or in full; `None` if it leads elsewhere, through
/// links too.
fn below(root: &Path, path: &Path) -> Option<PathBuf> {
    if path.components().any(|part| matches!(part, Component::ParentDir)) {
        return None;
    }
    let root = root.canonicalize().ok()?;
    let found = root.join(path).canonicalize().ok()?;
    let readable = found.is_dir() || found.is_file();
    (found.starts_with(&root) && found != root && readable).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_folders_and_files_below_the_root_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("adapters");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        fs::write(root.join("a/file"), "").unwrap();
        fs::write(dir.path().join("elsewhere/file"), "").unwrap();
        let found = |path: &str| below(&root, Path::new(path)).is_some();
        assert!(found("a") && found("a/b") && found("a/file"));
        assert!(found(root.join("a").to_str().unwrap()));
        assert!(!found("../elsewhere") && !found("a/../../elsewhere") && !found("/etc"));
        assert!(
            !found("../elsewhere/file")
                && !found("a/file/x")
                && !found("missing")
                && !found("")
                && !found(".")
        );
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(dir.path().join("elsewhere"), root.join("link")).unwrap();
            assert!(!found("link") && !found("link/file"));
            let file = dir.path().join("elsewhere/file");
            std::os::unix::fs::symlink(file, root.join("file_link")).unwrap();
            assert!(!found("file_link"));
        }
    }
}
