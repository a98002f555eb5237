use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State, rejection::BytesRejection},
    http::{HeaderMap, header::CONTENT_TYPE},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpListener;

use super::ModelServer;
use crate::{
    BODY_BYTES_MAX, Error,
    adapter_view::{self, Page},
    openai::{ApiError, ChatRequest, CompletionRequest, EmbeddingsRequest},
    server::{bearer, body_of, request_id, with_ignored},
};

type Body = Result<Bytes, BytesRejection>;

/// Serves the models until `shutdown` resolves; requests under way are finished.
pub async fn serve_models(
    listener: TcpListener,
    server: Arc<ModelServer>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    axum::serve(listener, router(server))
        .with_graceful_shutdown(shutdown)
        .await
        .map_err(|error| Error::io("serve", std::path::Path::new("the API"), error))
}

fn router(server: Arc<ModelServer>) -> Router {
    let keyed = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(complete))
        .route("/v1/embeddings", post(embed))
        .route("/v1/models", get(models))
        .route("/v1/models/{model}", get(model))
        .route("/v1/adapters", get(adapters))
        .route("/v1/adapters/capacity", get(capacity))
        .route("/v1/load_lora_adapter", post(load))
        .route("/v1/unload_lora_adapter", post(unload))
        .layer(middleware::from_fn_with_state(Arc::clone(&server), authenticated));
    Router::new()
        .merge(keyed)
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok" }))
        .fallback(|| async { ApiError::not_found("There is nothing at this path.") })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(request_id))
        .with_state(server)
}

async fn authenticated(
    State(server): State<Arc<ModelServer>>,
    request: axum::extract::Request,
    next: middleware::Next,
) -> Result<Response, ApiError> {
    server.authenticate(bearer(request.headers()))?;
    Ok(next.run(request).await)
}

async fn chat(State(server): State<Arc<ModelServer>>, body: Body) -> Result<Response, ApiError> {
    let (request, ignored) = ChatRequest::parse(&body_of(body)?)?;
    let grammar = server.grammar(&request).await?;
    let response = server.chat(&request, grammar, now())?.respond().await?;
    Ok(with_ignored(response, &ignored))
}

async fn complete(
    State(server): State<Arc<ModelServer>>,
    body: Body,
) -> Result<Response, ApiError> {
    let (request, ignored) = CompletionRequest::parse(&body_of(body)?)?;
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

async fn adapters(State(server): State<Arc<ModelServer>>, Query(page): Query<Page>) -> Json<Value> {
    Json(adapter_view::adapters(server.engine(), &page))
}

async fn capacity(State(server): State<Arc<ModelServer>>) -> Json<Value> {
    Json(adapter_view::capacity(server.engine()))
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
    let text = server.metrics(bearer(&headers));
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn json<T: DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    crate::openai::parse(&body_of(body)?)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
