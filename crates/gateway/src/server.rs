use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use openledger_openlora::Handle as Engine;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    Error, Gateway,
    api_frame::{
        Api, Body, adapter_routes, bearer, body_of, exposition, keyed, serve_framed, with_ignored,
    },
    openai::{ApiError, ChatRequest},
    reply,
};

/// Pieces of an answer that wait for a slow reader before generation waits too.
const PIECES_BUFFERED_MAX: usize = 64;

/// Serves the API until `shutdown` resolves; requests under way are finished.
pub async fn serve(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    serve_framed(listener, routes(&gateway), gateway, shutdown).await
}

/// Who pays for a question, and whose a receipt is, is found out where it is needed; of the rest only the
/// adapters are for who has a key.
fn routes(gateway: &Arc<Gateway>) -> Router<Arc<Gateway>> {
    Router::new()
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/models", get(models))
        .route("/v1/models/{model}", get(model))
        .merge(keyed(adapter_routes(), gateway))
        .route("/v1/training/jobs", get(training_jobs))
        .route("/v1/attributions/{id}", get(attribution))
        .route("/v1/receipts/{id}", get(receipt))
        .route("/metrics", get(metrics))
}

impl Api for Gateway {
    fn engine(&self) -> &Engine {
        &self.text.engine
    }

    async fn check_key(&self, key: Option<&str>) -> Result<(), ApiError> {
        self.authenticate(key).await.map(drop)
    }
}

async fn chat_completions(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    body: Body,
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

/// For Prometheus. What each tenant used is left out: this address is open to all.
async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    exposition(&gateway.engine().metrics().without_tenants())
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
    ([(CONTENT_TYPE, "application/json")], json).into_response()
}
