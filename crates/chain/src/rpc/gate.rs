//! What is refused before JSON-RPC sees it: names that are not ours, and web pages that are not let
//! in. Counts connections on the way.

use std::{
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::Either;
use hyper::{HeaderMap, StatusCode, header::UPGRADE};
use jsonrpsee::server::{HttpBody, HttpRequest, HttpResponse};
use tower::{Layer, Service};

use super::{hosts::AllowedHosts, origins::Origins};
use crate::metrics::{Metrics, Open};

/// A mark on requests that came over plain HTTP: nothing can be told to their senders later.
#[derive(Clone, Copy)]
pub(super) struct PlainHttp;

/// Builds a [`Gate`] for each connection.
#[derive(Clone)]
pub(super) struct GateLayer {
    pub(super) hosts: AllowedHosts,
    pub(super) origins: Origins,
    pub(super) metrics: Arc<Metrics>,
}

/// Stands before the server, one for each connection.
#[derive(Clone)]
pub(super) struct Gate<S> {
    inner: S,
    hosts: AllowedHosts,
    origins: Origins,
    open: Arc<Open>,
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        let open = Arc::new(self.metrics.connection());
        Gate { inner, hosts: self.hosts.clone(), origins: self.origins.clone(), open }
    }
}

impl<S, B> Service<HttpRequest<B>> for Gate<S>
where
    S: Service<HttpRequest<B>, Response = HttpResponse>,
{
    type Response = HttpResponse;
    type Error = S::Error;
    type Future = Either<Ready<Result<HttpResponse, S::Error>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: HttpRequest<B>) -> Self::Future {
        if let Some(refusal) = self.hosts.refusal(&request) {
            return refuse(refusal);
        }
        if is_web_socket(request.headers()) {
            if !self.origins.allow_web_socket(request.headers()) {
                let refusal = "This page may not use the node. Add its origin to cors_origins \
                               (--cors-origin ORIGIN).\n";
                return refuse(refusal.to_owned());
            }
            // The server keeps a request's extensions as long as the WebSocket is open, while this
            // service ends with the upgrade.
            request.extensions_mut().insert(Arc::clone(&self.open));
        } else {
            request.extensions_mut().insert(PlainHttp);
        }
        Either::Right(self.inner.call(request))
    }
}

fn is_web_socket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get_all(UPGRADE).iter();
    upgrade.filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case("websocket"))
    })
}

fn refuse<E, F>(reason: String) -> Either<Ready<Result<HttpResponse, E>>, F> {
    let mut response = HttpResponse::new(HttpBody::from(reason));
    *response.status_mut() = StatusCode::FORBIDDEN;
    Either::Left(ready(Ok(response)))
}
