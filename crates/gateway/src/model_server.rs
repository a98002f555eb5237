//! OpenLoRA on its own: the OpenAI API over one base and all its adapters, without chain, money or receipts.
//!
//! ```text
//! request ─▶ key ─▶ adapters by `model` ─▶ engine ─▶ document or server-sent events
//! ```
//!
//! **Invariant:** a request that cannot be served is refused before anything is generated; overload at once.
//! **Invariant:** only adapters below the folder that the operator named can be loaded through the API.

mod adapters;
mod completions;
mod json_mode;
mod routes;

use std::path::PathBuf;
use std::sync::Arc;

use openledger_model::{ChatTemplate, Decoder, Tokenizer};
use openledger_openlora::{AdapterHash, AdapterRef, Grammars, Handle as Engine};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

pub use routes::serve_models;

use crate::{openai::ApiError, text_model::TextModel};

/// Most adapters blended in one request.
const BLEND_MAX: usize = openledger_model::serving::BLEND_MAX;

/// A base, its adapters, and who may ask.
#[derive(Debug)]
pub struct ModelServer {
    text: TextModel,
    base: Arc<Decoder>,
    name: String,
    /// Where adapters may be loaded from through the API.
    adapters_dir: Option<PathBuf>,
    /// SHA-256 of the key that requests must carry.
    key: Option<[u8; 32]>,
    started_at: u64,
    shared_prefixes: SharedPrefixes,
    grammars: Arc<Grammars>,
    /// Schemas that may be compiled at the same time.
    compiling: Semaphore,
}

/// What a server is made of.
#[derive(Debug)]
pub struct ModelServerParts {
    /// Runs the models.
    pub engine: Engine,
    /// For embeddings.
    pub base: Arc<Decoder>,
    /// Of the base.
    pub tokenizer: Arc<Tokenizer>,
    /// Of the base.
    pub template: Arc<ChatTemplate>,
    /// Over the tokens of the base, for answers in JSON.
    pub grammars: Grammars,
    /// What the base is called in `model`.
    pub name: String,
    /// Where adapters may be loaded from through the API; nowhere if none is named.
    pub adapters_dir: Option<PathBuf>,
    /// Key that requests must carry; none is needed if none is named.
    pub api_key: Option<String>,
    /// Unix seconds.
    pub started_at: u64,
    /// Whose prompts may be found in the cache by every tenant.
    pub shared_prefixes: SharedPrefixes,
}

/// Models whose cached prompts all tenants profit from. They learn from the time to the first token what
/// others have asked, so none is by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharedPrefixes {
    /// These, by name: base and adapters. A blend is if all its adapters are.
    Of(Vec<String>),
    /// All of them.
    OfAll,
}

impl ModelServer {
    /// A server over a running engine.
    pub fn new(parts: ModelServerParts) -> Self {
        let context_tokens = parts.base.config().max_position_embeddings;
        Self {
            text: TextModel {
                engine: parts.engine,
                tokenizer: parts.tokenizer,
                template: parts.template,
                context_tokens,
            },
            base: parts.base,
            name: parts.name,
            adapters_dir: parts.adapters_dir,
            key: parts.api_key.map(|key| digest(&key)),
            started_at: parts.started_at,
            shared_prefixes: parts.shared_prefixes,
            grammars: Arc::new(parts.grammars),
            compiling: Semaphore::new(json_mode::COMPILING_MAX),
        }
    }

    /// Adapters that can be named.
    pub fn adapters_registered(&self) -> usize {
        self.text.engine.capacity().adapters_registered
    }

    /// Refuses whoever lacks the key.
    fn authenticate(&self, key: Option<&str>) -> Result<(), ApiError> {
        // Digests are compared, so that the time says nothing about the key.
        match self.key {
            Some(wanted) if key.map(digest) != Some(wanted) => Err(ApiError::invalid_api_key()),
            _ => Ok(()),
        }
    }

    fn knows(&self, name: &str) -> bool {
        self.text.engine.adapter(&by_name(name)).is_ok()
    }

    /// Whether every tenant may profit from what is cached of prompts to these.
    fn shares_prefixes(&self, adapters: &[(AdapterRef, f32)]) -> bool {
        let SharedPrefixes::Of(names) = &self.shared_prefixes else { return true };
        let named = |adapter: &AdapterRef| {
            let known = self.text.engine.adapter(adapter);
            known.is_ok_and(|known| names.contains(&known.name))
        };
        match adapters {
            [] => names.contains(&self.name),
            _ => adapters.iter().all(|(adapter, _)| named(adapter)),
        }
    }

    /// What `model` names: the base alone, an adapter by name or hash, or a blend `a:0.5+b:0.25`.
    fn adapters_of(&self, model: &str) -> Result<Vec<(AdapterRef, f32)>, ApiError> {
        if model == self.name {
            return Ok(Vec::new());
        }
        if self.knows(model) {
            return Ok(vec![(by_name(model), 1.0)]);
        }
        let parts: Vec<&str> = model.split('+').collect();
        if parts.len() > BLEND_MAX {
            let message = format!("A blend has at most {BLEND_MAX} adapters.");
            return Err(ApiError::invalid("model", message));
        }
        parts
            .into_iter()
            .map(|part| {
                let (name, weight) = part.rsplit_once(':').ok_or(())?;
                let weight: f32 = weight.parse().map_err(|_| ())?;
                let known = self.knows(name);
                if known && weight.is_finite() { Ok((by_name(name), weight)) } else { Err(()) }
            })
            .collect::<Result<_, ()>>()
            .map_err(|()| ApiError::model_not_found(model))
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

fn by_name(name: &str) -> AdapterRef {
    match AdapterHash::parse(name) {
        Some(hash) => hash.into(),
        None => AdapterRef::Name(name.into()),
    }
}
