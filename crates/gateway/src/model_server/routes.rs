use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use openledger_openlora::Handle as Engine;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpListener;

use super::ModelServer;
use crate::{
    Error,
    adapter_view::Page,
    api_frame::{
        Api, Body, adapter_routes, bearer, body_of, exposition, keyed, serve_framed, with_ignored,
    },
    openai::{ApiError, ChatRequest, CompletionRequest, EmbeddingsRequest},
};

/// Serves the models until `shutdown` resolves; requests under way are finished.
pub async fn serve_models(
    listener: TcpListener,
    server: Arc<ModelServer>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    serve_framed(listener, routes(&server), server, shutdown).await
}

fn routes(server: &Arc<ModelServer>) -> Router<Arc<ModelServer>> {
    let of_who_has_the_key = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(complete))
        .route("/v1/embeddings", post(embed))
        .route("/v1/models", get(models))
        .route("/v1/models/{model}", get(model))
        .merge(adapter_routes())
        .route("/v1/load_lora_adapter", post(load))
        .route("/v1/unload_lora_adapter", post(unload));
    keyed(of_who_has_the_key, server).route("/metrics", get(metrics))
}

impl Api for ModelServer {
    fn engine(&self) -> &Engine {
        &self.text.engine
    }

    async fn check_key(&self, key: Option<&str>) -> Result<(), ApiError> {
        self.authenticate(key)
    }
}

async fn chat(State(server): State<Arc<ModelServer>>, body: Body) -> Result<Response, ApiError> {
    let (request, ignored) = ChatRequest::parse(&body_of(body)?)?;
    server.expect_places(&request.options)?;
    let grammar = server.grammar(&request).await?;
    let response = server.chat(&request, grammar, now())?.respond().await?;
    Ok(with_ignored(response, &ignored))
}

async fn complete(
    State(server): State<Arc<ModelServer>>,
    body: Body,
) -> Result<Response, ApiError> {
    let (request, ignored) = CompletionRequest::parse(&body_of(body)?)?;
    server.expect_places(&request.options)?;
    let response = server.complete(&request, now())?.respond().await?;
    Ok(with_ignored(response, &ignored))
}

async fn embed(State(server): State<Arc<ModelServer>>, body: Body) -> Result<Response, ApiError> {
    let (request, ignored) = EmbeddingsRequest::parse(&body_of(body)?)?;
    let embedded = tokio::task::spawn_blocking(move || server.embed(&request));
    let document = embedded.await.map_err(ApiError::internal)??;
    Ok(with_ignored(Json(document).into_response(), &ignored))
}

async fn models(State(server): State<Arc<ModelServer>>, Query(page): Query<Page>) -> Json<Value> {
    Json(server.models(&page))
}

async fn model(
    State(server): State<Arc<ModelServer>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    server.model(&name).map(Json)
}

async fn load(State(server): State<Arc<ModelServer>>, body: Body) -> Result<String, ApiError> {
    let load = json(body)?;
    // It reads files.
    tokio::task::spawn_blocking(move || server.load(&load)).await.map_err(ApiError::internal)?
}

async fn unload(State(server): State<Arc<ModelServer>>, body: Body) -> Result<String, ApiError> {
    server.unload(&json(body)?)
}

async fn metrics(State(server): State<Arc<ModelServer>>, headers: HeaderMap) -> Response {
    exposition(&server.metrics(bearer(&headers)))
}

fn json<T: DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    crate::openai::parse(&body_of(body)?)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
