//! What both APIs are built into: the certified one of [`Gateway`](crate::Gateway) and the plain one of
//! [`ModelServer`](crate::ModelServer).
//!
//! ```text
//! request ─▶ id ─▶ body limit ─▶ key, where one is asked for ─▶ routes of one API ─▶ answer, ignored parameters named
//!                                                             └▶ adapters of its engine
//! ```
//!
//! **Invariant:** every answer has an id of its own; a body is read to [`BODY_BYTES_MAX`] at most.

use std::{net::SocketAddr, path::Path, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Query, Request, State, rejection::BytesRejection},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use openledger_openlora::{Handle as Engine, Metrics};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::{
    Error,
    adapter_view::{self, Page},
    openai::ApiError,
};

/// Largest request body.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// What the frame needs to know of an API.
pub(crate) trait Api: Send + Sync + 'static {
    /// Whose adapters are listed.
    fn engine(&self) -> &Engine;

    /// Refuses whoever lacks a key.
    fn check_key(&self, key: Option<&str>) -> impl Future<Output = Result<(), ApiError>> + Send;
}

/// A body, or why there is none.
pub(crate) type Body = Result<Bytes, BytesRejection>;

/// Binds the API address. Errors: [`Error::PortInUse`], [`Error::Listen`].
pub async fn bind(addr: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(addr).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Error::PortInUse(addr),
        _ => Error::Listen { addr, cause: error },
    })
}

/// Serves the routes of an API in their frame until `shutdown` resolves; requests under way are finished.
pub(crate) async fn serve_framed<A: Api>(
    listener: TcpListener,
    routes: Router<Arc<A>>,
    api: Arc<A>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    axum::serve(listener, framed(routes, api))
        .with_graceful_shutdown(shutdown)
        .await
        .map_err(|error| Error::io("serve", Path::new("the API"), error))
}

fn framed<A: Api>(routes: Router<Arc<A>>, api: Arc<A>) -> Router {
    routes
        .route("/healthz", get(|| async { "ok" }))
        .fallback(|| async { ApiError::not_found("There is nothing at this path.") })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(request_id))
        .with_state(api)
}

/// The routes of an engine's adapters.
pub(crate) fn adapter_routes<A: Api>() -> Router<Arc<A>> {
    Router::new()
        .route("/v1/adapters", get(adapters::<A>))
        .route("/v1/adapters/capacity", get(capacity::<A>))
}

/// Routes that only who has a key may use.
pub(crate) fn keyed<A: Api>(routes: Router<Arc<A>>, api: &Arc<A>) -> Router<Arc<A>> {
    routes.layer(middleware::from_fn_with_state(Arc::clone(api), check_key::<A>))
}

async fn check_key<A: Api>(
    State(api): State<Arc<A>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    api.check_key(bearer(request.headers())).await?;
    Ok(next.run(request).await)
}

async fn adapters<A: Api>(State(api): State<Arc<A>>, Query(page): Query<Page>) -> Json<Value> {
    Json(adapter_view::adapters(api.engine(), &page))
}

async fn capacity<A: Api>(State(api): State<Arc<A>>) -> Json<Value> {
    Json(adapter_view::capacity(api.engine()))
}

async fn request_id(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let id = format!("req_{:032x}", crate::random::u128());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), id);
    }
    response
}

/// The key that a request carries.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// The body, or the error that says why there is none.
pub(crate) fn body_of(body: Body) -> Result<Bytes, ApiError> {
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

/// For Prometheus.
pub(crate) fn exposition(metrics: &Metrics) -> Response {
    let text = metrics.to_prometheus();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_follows_bearer() {
        let key = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(key("Bearer sesame"), Some("sesame".to_owned()));
        assert_eq!((key("Basic sesame"), key("bearer sesame"), key("sesame")), (None, None, None));
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn an_answer_names_only_parameters_that_were_ignored() {
        let named = |ignored: &[&str]| {
            let ignored: Vec<String> = ignored.iter().map(|name| (*name).to_owned()).collect();
            let response = with_ignored("ok".into_response(), &ignored);
            let header = response.headers().get("x-ignored-parameters").cloned();
            header.map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(named(&[]), None);
        assert_eq!(named(&["tools", "store"]), Some("tools, store".to_owned()));
    }
}
