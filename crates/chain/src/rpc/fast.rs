//! `eth_sendRawTransaction` without the machinery that every other method goes through.
//!
//! Under load nearly all requests are this one, alone or in batches, and what is general about a
//! JSON-RPC server then costs more than the transaction. This layer answers a body that holds nothing
//! else: it is parsed once without copying, all senders of a batch are recovered side by side, and the
//! batch is one entry in the pool's lock and one write to the journal. Anything else, malformed bodies
//! included, goes on to the general server, so there is one place that words errors.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Instant,
};

use alloy_primitives::{B256, Bytes, hex};
use http_body_util::BodyExt;
use hyper::{Method, header};
use jsonrpsee::{
    core::BoxError,
    server::{HttpBody, HttpRequest, HttpResponse},
    types::ErrorObjectOwned,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tower::{Layer, Service};

use super::{
    Context,
    error::RpcResult,
    limits::{BATCH_MAX, BODY_BYTES_MAX},
    send::{decode, send_all},
};
use crate::{metrics::MethodTable, transaction::SignedTx};

/// What a body must contain to be looked at: the name with its closing quote, so that
/// `eth_sendRawTransactionSync` is not meant.
const METHOD: &str = "\"eth_sendRawTransaction\"";
/// Senders are recovered on several cores from this many on.
const PARALLEL_FROM: usize = 16;

/// Puts [`FastSend`] in front of the general server.
#[derive(Clone)]
pub(super) struct FastSendLayer {
    pub(super) context: Arc<Context>,
    pub(super) methods: MethodTable,
}

impl<S> Layer<S> for FastSendLayer {
    type Service = FastSend<S>;

    fn layer(&self, general: S) -> FastSend<S> {
        let Self { context, methods } = self.clone();
        FastSend { context, methods, general }
    }
}

/// Answers `eth_sendRawTransaction`, and hands everything else on.
#[derive(Clone)]
pub(super) struct FastSend<S> {
    context: Arc<Context>,
    methods: MethodTable,
    general: S,
}

/// One call as it stands in the body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call<'a> {
    jsonrpc: &'a str,
    #[serde(borrow)]
    id: &'a RawValue,
    method: &'a str,
    #[serde(borrow)]
    params: [&'a str; 1],
}

#[derive(Serialize)]
struct Answer<'a> {
    jsonrpc: &'static str,
    id: &'a RawValue,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Result(B256),
    Error(ErrorObjectOwned),
}

impl<'a> Call<'a> {
    /// The calls of a body, and whether they came as a batch; `None` if anything about them is unusual.
    fn parse(body: &'a str) -> Option<(Vec<Self>, bool)> {
        if !body.contains(METHOD) {
            return None;
        }
        let batch = body.trim_start().starts_with('[');
        let calls = if batch {
            serde_json::from_str(body).ok()?
        } else {
            vec![serde_json::from_str::<Self>(body).ok()?]
        };
        let plain = !calls.is_empty()
            && calls.len() <= BATCH_MAX as usize
            && calls.iter().all(Self::is_plain);
        plain.then_some((calls, batch))
    }

    fn is_plain(&self) -> bool {
        let id = self.id.get().as_bytes().first();
        self.jsonrpc == "2.0"
            && METHOD.trim_matches('"') == self.method
            && self.params[0].starts_with("0x")
            && id.is_some_and(|first| first.is_ascii_digit() || *first == b'"')
    }

    fn decode(&self) -> Option<Bytes> {
        hex::decode(self.params[0]).ok().map(Bytes::from)
    }
}

/// The answers to `body`, or `None` if the general server must give them.
async fn answer(context: &Context, methods: &MethodTable, body: &str) -> Option<Vec<u8>> {
    let started = Instant::now();
    let (calls, batch) = Call::parse(body)?;
    let encoded: Vec<Bytes> = calls.iter().map(Call::decode).collect::<Option<_>>()?;
    let decode = |encoded: Bytes| decode(context, encoded);
    let decoded: Vec<RpcResult<Arc<SignedTx>>> = if encoded.len() < PARALLEL_FROM {
        encoded.into_iter().map(decode).collect()
    } else {
        encoded.into_par_iter().map(decode).collect()
    };
    let outcomes = send_all(context, decoded).await;
    let method = methods.find(METHOD.trim_matches('"'));
    for outcome in &outcomes {
        let code = outcome.as_ref().err().map(ErrorObjectOwned::code);
        methods.answered(method, code, started.elapsed());
    }
    let answers: Vec<Answer<'_>> = calls
        .iter()
        .zip(outcomes)
        .map(|(call, outcome)| Answer {
            jsonrpc: "2.0",
            id: call.id,
            outcome: outcome.map_or_else(Outcome::Error, Outcome::Result),
        })
        .collect();
    if batch {
        serde_json::to_vec(&answers).ok()
    } else {
        serde_json::to_vec(answers.first()?).ok()
    }
}

impl<S> Service<HttpRequest> for FastSend<S>
where
    S: Service<HttpRequest, Response = HttpResponse, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = HttpResponse;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, BoxError>> + Send>>;

    fn poll_ready(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        self.general.poll_ready(task)
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let json = request.headers().get(header::CONTENT_TYPE);
        let json = json.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let readable = length.is_some_and(|length| length <= BODY_BYTES_MAX.into());
        if request.method() != Method::POST || !json || !readable {
            return Box::pin(self.general.call(request));
        }
        let (context, methods) = (Arc::clone(&self.context), self.methods.clone());
        let mut general = self.general.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            // The length was checked, and hyper holds the body to it.
            let body = body.collect().await?.to_bytes();
            if let Ok(text) = std::str::from_utf8(&body)
                && let Some(answer) = answer(&context, &methods, text).await
            {
                let response = HttpResponse::builder()
                    .header(header::CONTENT_TYPE, "application/json; charset=utf-8");
                return Ok(response.body(HttpBody::from(answer))?);
            }
            let body = HttpBody::new(http_body_util::Full::new(body));
            general.call(HttpRequest::from_parts(parts, body)).await
        })
    }
}
