use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use openledger_openlora::Error as Engine;
use serde_json::json;

/// An answer that is not 200, in the shape OpenAI clients parse.
///
/// `code` is stable and documented; `message` says what failed, why and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) kind: &'static str,
    pub(crate) code: &'static str,
    pub(crate) param: Option<String>,
    pub(crate) message: String,
    pub(crate) retry_after_ms: Option<u64>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, code: &'static str, message: String) -> Self {
        Self { status, kind, code, param: None, message, retry_after_ms: None }
    }

    /// 400: the request is malformed at `param`.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let error = Self::new(
            StatusCode::BAD_REQUEST,
            "invalid_request_error",
            "invalid_value",
            message.into(),
        );
        Self { param: Some(param.into()), ..error }
    }

    /// 400: prompt and answer do not fit the model.
    pub(crate) fn context_length(param: &str, message: String) -> Self {
        let code = "context_length_exceeded";
        let error = Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", code, message);
        Self { param: Some(param.into()), ..error }
    }

    /// 401: no key, or one nobody issued.
    pub(crate) fn invalid_api_key() -> Self {
        let message = "No valid API key was given. Send `Authorization: Bearer <key>`; \
                       `openledger up` prints where its development key is kept.";
        Self::new(
            StatusCode::UNAUTHORIZED,
            "invalid_request_error",
            "invalid_api_key",
            message.into(),
        )
    }

    /// 404: no such model.
    pub(crate) fn model_not_found(model: &str) -> Self {
        let shown: String = model.chars().take(80).collect();
        let message = format!("The model `{shown}` does not exist. GET /v1/models lists them.");
        let error =
            Self::new(StatusCode::NOT_FOUND, "invalid_request_error", "model_not_found", message);
        Self { param: Some("model".into()), ..error }
    }

    /// 404: anything else that is not there.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        let kind = "invalid_request_error";
        Self::new(StatusCode::NOT_FOUND, kind, "not_found", message.into())
    }

    /// 429: the prepaid balance or the spending limit does not cover the request. No work was done.
    pub(crate) fn insufficient_quota(message: String) -> Self {
        let code = "insufficient_quota";
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, code, message)
    }

    /// 429: the queue is full.
    pub(crate) fn overloaded(retry_after_ms: u64) -> Self {
        let message = "All places in the queue are taken. Try again in a moment.";
        let error = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_error",
            "rate_limit_exceeded",
            message.into(),
        );
        Self { retry_after_ms: Some(retry_after_ms), ..error }
    }

    /// 413: the body is larger than the limit.
    pub(crate) fn too_large(limit_bytes: usize) -> Self {
        let message = format!("The request body is larger than {limit_bytes} bytes.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", "body_too_large", message)
    }

    /// 503: the chain cannot be reached.
    pub(crate) fn chain_unavailable(cause: impl core::fmt::Display) -> Self {
        let message =
            format!("The chain did not answer, so nothing was generated or charged: {cause}");
        let error = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            "chain_unavailable",
            message,
        );
        Self { retry_after_ms: Some(2_000), ..error }
    }

    /// 500: our fault.
    pub(crate) fn internal(cause: impl core::fmt::Display) -> Self {
        let message = format!("The answer could not be completed: {cause}");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "server_error", "internal_error", message)
    }

    /// 503: an adapter that is registered cannot be loaded.
    fn adapter_unavailable(message: String, retry_after_ms: u64) -> Self {
        let code = "adapter_unavailable";
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", code, message);
        Self { param: Some("model".into()), retry_after_ms: Some(retry_after_ms), ..error }
    }

    /// The JSON body.
    pub(crate) fn body(&self) -> serde_json::Value {
        json!({ "error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
        } })
    }
}

impl From<Engine> for ApiError {
    fn from(error: Engine) -> Self {
        let message = error.to_string();
        match error {
            Engine::Overloaded { retry_after_ms } => Self::overloaded(retry_after_ms),
            Engine::UnknownAdapter(adapter) => Self::model_not_found(&adapter.to_string()),
            Engine::BrokenAdapter { retry_after_ms, .. } => {
                Self::adapter_unavailable(message, retry_after_ms)
            }
            Engine::Length { .. } => Self::context_length("messages", message),
            Engine::Memory { .. } => Self::context_length("max_tokens", message),
            Engine::Invalid { field, why } => Self::invalid(field, why),
            Engine::NameTaken(name) => {
                let message = format!(
                    "An adapter named `{name}` is loaded already. Unload it first, or set `load_inplace` to true \
                     to replace it."
                );
                Self::invalid("lora_name", message)
            }
            Engine::Stopped | Engine::Model(_) => Self::internal(message),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if let Some(ms) = self.retry_after_ms {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000).max(1)));
            // What the official clients look for first.
            response.headers_mut().insert("retry-after-ms", HeaderValue::from(ms));
        }
        response
    }
}
