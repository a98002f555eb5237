//! What `response_format` asks an answer to be.

use std::sync::Arc;

use openledger_openlora::Grammar;

use super::ModelServer;
use crate::openai::{ApiError, ChatRequest, ResponseFormat};

/// Schemas compiled at the same time: each takes a core for up to some tenths of a second.
pub(super) const COMPILING_MAX: usize = 2;

impl ModelServer {
    /// The grammar of the answers to a request; none where any text is one. A schema is compiled beside the
    /// requests of others.
    ///
    /// Errors: 400 naming `response_format` if the schema cannot be enforced.
    pub(super) async fn grammar(&self, request: &ChatRequest) -> Result<Option<Grammar>, ApiError> {
        let named = match &request.own.response_format {
            None | Some(ResponseFormat::Text) => return Ok(None),
            Some(ResponseFormat::JsonObject) => return Ok(Some(self.grammars.object())),
            Some(ResponseFormat::JsonSchema { json_schema }) => json_schema,
        };
        let _turn = self.compiling.acquire().await.map_err(ApiError::internal)?;
        let (grammars, schema) = (Arc::clone(&self.grammars), named.schema.clone());
        let compiled = tokio::task::spawn_blocking(move || grammars.schema(&schema));
        match compiled.await.map_err(ApiError::internal)? {
            Ok(grammar) => Ok(Some(grammar)),
            Err(why) => {
                let message = format!("Invalid schema for `{}`: {why}", named.name);
                Err(ApiError::invalid("response_format", message))
            }
        }
    }
}
