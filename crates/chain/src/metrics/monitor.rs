//! `/metrics`, `/health` and `/ready`, on an address of their own.
//!
//! Answers while the chain is still read back, so that a supervisor can tell a slow start from a dead
//! process.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::AbortHandle,
};

use super::{
    Metrics,
    vitals::{Stage, Vitals, age},
};
use crate::{
    BlockProduction, Error,
    chain::Chain,
    clock::{Clock, SystemClock},
    node::Status,
    rpc::{AllowedHosts, Listener},
};

/// Connections at once; those beyond wait. Scrapers come one at a time.
const CONNECTIONS_MAX: usize = 16;
/// How long a connection may take, from its first byte to its last.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a client may take to send its request.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(5);
/// Bytes of a request.
const REQUEST_BYTES_MAX: usize = 16 << 10;
/// How long to wait when the system gives no socket, for want of memory or file descriptors.
const RETRY_AFTER: Duration = Duration::from_millis(100);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// A port that is reserved for the monitor.
pub(crate) struct MonitorListener(Listener);

/// The server of `/metrics`, `/health` and `/ready`. It ends when this is dropped.
pub(crate) struct Monitor {
    addr: SocketAddr,
    seen: Arc<Seen>,
    task: AbortHandle,
}

/// What the monitor looks at.
struct Seen {
    metrics: Arc<Metrics>,
    hosts: AllowedHosts,
    production: BlockProduction,
    running: OnceLock<(Arc<Chain>, watch::Receiver<Status>)>,
}

impl MonitorListener {
    /// Errors: [`Error::PortInUse`], [`Error::Listen`].
    pub(crate) fn bind(addr: SocketAddr) -> Result<Self, Error> {
        Listener::bind(addr).map(Self)
    }
}

impl Monitor {
    /// Starts answering. Must be called inside a Tokio runtime.
    pub(crate) fn start(
        MonitorListener(Listener(listener, addr)): MonitorListener,
        metrics: Arc<Metrics>,
        hosts: AllowedHosts,
        production: BlockProduction,
    ) -> Result<Self, Error> {
        let listener =
            TcpListener::from_std(listener).map_err(|source| Error::Listen { addr, source })?;
        let seen = Arc::new(Seen { metrics, hosts, production, running: OnceLock::new() });
        let task = tokio::spawn(accept(listener, Arc::clone(&seen))).abort_handle();
        Ok(Self { addr, seen, task })
    }

    /// The chain is read back and the node runs.
    pub(crate) fn running(&self, chain: Arc<Chain>, status: watch::Receiver<Status>) {
        self.seen.running.get_or_init(|| (chain, status));
    }

    /// The address, with the port that was chosen if 0 was asked for.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Frees the port. When this returns, it is free.
    pub(crate) async fn stop(&self) {
        self.task.abort();
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, seen: Arc<Seen>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    // A client that is too slow, or gone, is its own concern.
                    let _ = tokio::time::timeout(CONNECTION_TIME_MAX, serve(stream, seen)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the metrics address cannot take a connection");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, seen: Arc<Seen>) -> Result<(), hyper::Error> {
    let answer = service_fn(move |request: Request<Incoming>| {
        let answer = seen.answer(&request);
        async move { Ok::<_, std::convert::Infallible>(answer) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME_MAX)
        .max_buf_size(REQUEST_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

impl Seen {
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if let Some(refusal) = self.hosts.refusal(request) {
            return response(StatusCode::FORBIDDEN, TEXT, refusal);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        }
        match request.uri().path() {
            "/metrics" => {
                let chain = self.running.get().map(|(chain, _)| &**chain);
                response(StatusCode::OK, OPEN_METRICS, self.metrics.text(chain, SystemClock.now()))
            }
            "/health" => {
                let vitals = self.vitals();
                let body = json!({ "healthy": vitals.healthy(), "stage": vitals.stage });
                response(well(vitals.healthy()), JSON, body.to_string())
            }
            "/ready" => {
                let readiness = self.vitals().readiness();
                let status = well(readiness.ready);
                response(status, JSON, json!(readiness).to_string())
            }
            _ => response(StatusCode::NOT_FOUND, TEXT, "/metrics, /health and /ready are here\n"),
        }
    }

    fn vitals(&self) -> Vitals {
        let running = self.running.get();
        let stage = match running {
            None => Stage::Recovering,
            Some((_, status)) if status.borrow().is_running() => Stage::Running,
            Some(_) => Stage::Stopped,
        };
        let head_age =
            running.map(|(chain, _)| age(SystemClock.now(), chain.head().header.timestamp));
        let disk_accepts = self.metrics.disk_accepts();
        Vitals { stage, production: self.production, head_age, disk_accepts }
    }
}

fn well(well: bool) -> StatusCode {
    if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
