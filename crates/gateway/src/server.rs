use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, Request, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::AUTHORIZATION},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    Error, Gateway,
    adapter_view::{self, Page},
    openai::{ApiError, ChatRequest},
    reply,
};

/// Largest request body.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Pieces of an answer that wait for a slow reader before generation waits too.
const PIECES_BUFFERED_MAX: usize = 64;

/// Binds the API address. Errors: [`Error::PortInUse`], [`Error::Io`].
pub async fn bind(addr: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(addr).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Error::PortInUse(addr),
        _ => Error::Listen { addr, cause: error },
    })
}

/// Serves the API until `shutdown` resolves; requests under way are finished.
pub async fn serve(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    axum::serve(listener, router(gateway))
        .with_graceful_shutdown(shutdown)
        .await
        .map_err(|error| Error::io("serve", std::path::Path::new("the API"), error))
}

fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/models", get(models))
        .route("/v1/models/{model}", get(model))
        .route("/v1/adapters", get(adapters))
        .route("/v1/adapters/capacity", get(adapter_capacity))
        .route("/v1/training/jobs", get(training_jobs))
        .route("/v1/attributions/{id}", get(attribution))
        .route("/v1/receipts/{id}", get(receipt))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok" }))
        .fallback(|| async { ApiError::not_found("There is nothing at this path.") })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(request_id))
        .with_state(gateway)
}

pub(crate) async fn request_id(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let id = format!("req_{:032x}", crate::random::u128());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), id);
    }
    response
}

async fn chat_completions(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = body_of(body)?;
    let payer = gateway.authenticate(bearer(&headers)).await?;
    let (request, ignored) = ChatRequest::parse(&body)?;
    let question = gateway.admit(&request, payer).await?;
    let (heading, choices) = (question.heading.clone(), request.options.choices() as usize);
    let (pieces, answers) = mpsc::channel(PIECES_BUFFERED_MAX);
    let answers = ReceiverStream::new(answers);
    // A task of its own: a client that leaves stops the generation, but what was produced until then
    // is still attributed and settled.
    tokio::spawn(async move { gateway.answer(question, pieces).await });

    let response = if request.options.streams() {
        reply::streamed(heading, choices, request.options.usage_wanted(), answers)
    } else {
        reply::whole(&heading, choices, answers).await?
    };
    Ok(with_ignored(response, &ignored))
}

/// The body, or why there is none.
pub(crate) fn body_of(body: Result<Bytes, BytesRejection>) -> Result<Bytes, ApiError> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(BODY_BYTES_MAX),
        _ => ApiError::invalid("body", rejection.body_text()),
    })
}

/// Names parameters we did not use, so that nobody believes they had an effect.
pub(crate) fn with_ignored(mut response: Response, ignored: &[String]) -> Response {
    if !ignored.is_empty()
        && let Ok(names) = HeaderValue::from_str(&ignored.join(", "))
    {
        response.headers_mut().insert(HeaderName::from_static("x-ignored-parameters"), names);
    }
    response
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

async fn models(State(gateway): State<Arc<Gateway>>) -> Json<Value> {
    let models: Vec<Value> = gateway.models().iter().map(|model| model.listing()).collect();
    Json(json!({ "object": "list", "data": models }))
}

async fn model(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let model = gateway.model(&name).ok_or_else(|| ApiError::model_not_found(&name))?;
    Ok(Json(model.listing()))
}

async fn adapters(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    gateway.authenticate(bearer(&headers)).await?;
    Ok(Json(adapter_view::adapters(&gateway.text.engine, &page)))
}

async fn adapter_capacity(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    gateway.authenticate(bearer(&headers)).await?;
    Ok(Json(adapter_view::capacity(&gateway.text.engine)))
}

/// For Prometheus. What each tenant used is left out: this address is open to all.
async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    let text = gateway.text.engine.metrics().without_tenants().to_prometheus();
    ([(axum::http::header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn training_jobs(State(gateway): State<Arc<Gateway>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": gateway.trainings() }))
}

async fn attribution(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let receipt = gateway.receipt_of(bearer(&headers), &id).await?;
    Ok(json_text(receipt.attribution))
}

async fn receipt(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let receipt = gateway.receipt_of(bearer(&headers), &id).await?;
    Ok(json_text(receipt.document))
}

fn json_text(json: String) -> Response {
    ([(axum::http::header::CONTENT_TYPE, "application/json")], json).into_response()
}
