use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, Request, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::AUTHORIZATION},
    middleware::{self, Next},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::{get, post},
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    Error, Gateway,
    ask::{Answer, Piece},
    openai::{ApiError, ChatRequest},
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

async fn request_id(request: Request, next: Next) -> Response {
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
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(BODY_BYTES_MAX),
        _ => ApiError::invalid("body", rejection.body_text()),
    })?;
    let payer = gateway.authenticate(bearer(&headers)).await?;
    let (request, ignored) = ChatRequest::parse(&body)?;
    let question = gateway.admit(&request, payer).await?;
    let heading = question.heading.clone();
    let (pieces, mut answer) = mpsc::channel(PIECES_BUFFERED_MAX);
    // A task of its own: a client that leaves stops the generation, but what was produced until then
    // is still attributed and settled.
    tokio::spawn(async move { gateway.answer(question, pieces).await });

    let response = if request.stream == Some(true) {
        let include_usage = request.stream_options.is_some_and(|options| options.include_usage);
        let first = heading.role_chunk();
        let rest = ReceiverStream::new(answer).flat_map(move |piece| {
            let chunks = match piece {
                Piece::Text(text) => vec![data(&heading.text_chunk(&text))],
                Piece::Done(answer) => last_chunks(&heading, &answer, include_usage),
                Piece::Failed(error) => vec![data(&error.body())],
            };
            futures_util::stream::iter(chunks)
        });
        let first = futures_util::stream::iter([data(&first)]);
        Sse::new(first.chain(rest)).into_response()
    } else {
        let answer = loop {
            match answer.recv().await {
                Some(Piece::Text(_)) => {}
                Some(Piece::Done(answer)) => break answer,
                Some(Piece::Failed(error)) => return Err(error),
                None => return Err(ApiError::internal("the generation ended without an answer")),
            }
        };
        let Answer { text, finish, usage, attribution } = &*answer;
        Json(heading.document(text, *finish, *usage, attribution)).into_response()
    };
    Ok(with_ignored(response, &ignored))
}

fn data(value: &Value) -> Result<Event, Infallible> {
    Ok(Event::default().data(value.to_string()))
}

fn last_chunks(
    heading: &crate::openai::Heading,
    answer: &Answer,
    include_usage: bool,
) -> Vec<Result<Event, Infallible>> {
    let mut chunks = vec![data(&heading.finish_chunk(answer.finish, &answer.attribution))];
    if include_usage {
        chunks.push(data(&heading.usage_chunk(answer.usage)));
    }
    chunks.push(Ok(Event::default().data("[DONE]")));
    chunks
}

/// Names parameters we did not use, so that nobody believes they had an effect.
fn with_ignored(mut response: Response, ignored: &[String]) -> Response {
    if !ignored.is_empty()
        && let Ok(names) = HeaderValue::from_str(&ignored.join(", "))
    {
        response.headers_mut().insert(HeaderName::from_static("x-ignored-parameters"), names);
    }
    response
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
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

/// Most adapters on one page of the list.
const ADAPTERS_PAGE_MAX: usize = 1000;

/// Which part of the list is wanted.
#[derive(Debug, serde::Deserialize)]
struct AdapterPage {
    #[serde(default)]
    skip: usize,
    limit: Option<usize>,
}

async fn adapters(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    Query(page): Query<AdapterPage>,
) -> Result<Json<Value>, ApiError> {
    gateway.authenticate(bearer(&headers)).await?;
    let limit = page.limit.unwrap_or(ADAPTERS_PAGE_MAX).min(ADAPTERS_PAGE_MAX);
    let adapters = gateway.engine.adapters(page.skip, limit);
    let total = gateway.engine.capacity().adapters_registered;
    let data: Vec<Value> = adapters.iter().map(adapter_listing).collect();
    Ok(Json(json!({ "object": "list", "data": data, "total": total })))
}

/// Where an adapter lies on our disk is nobody's business.
fn adapter_listing(adapter: &openledger_openlora::AdapterInfo) -> Value {
    json!({
        "id": adapter.name,
        "object": "adapter",
        "hash": adapter.hash.map(|hash| hash.to_string()),
        "resident": adapter.resident_bytes.is_some(),
        "resident_bytes": adapter.resident_bytes,
        "error": adapter.broken,
    })
}

async fn adapter_capacity(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    gateway.authenticate(bearer(&headers)).await?;
    let capacity = gateway.engine.capacity();
    Ok(Json(json!({
        "object": "adapter_capacity",
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
    })))
}

/// For Prometheus. What each tenant used is left out: this address is open to all.
async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    let text = gateway.engine.metrics().without_tenants().to_prometheus();
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
