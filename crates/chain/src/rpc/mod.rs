//! JSON-RPC over HTTP and WebSocket, on one port.
//!
//! Reads take a snapshot of the chain and answer from it; the only write is a transaction. Nothing
//! here decides what is in a block.

mod admin;
mod blocks;
mod call;
mod context;
mod convert;
mod debug;
mod error;
mod fees;
mod filters;
mod l1_fields;
mod limits;
mod logs;
mod node_info;
mod optimism;
mod output;
mod overrides;
mod parity;
mod raw;
mod request;
mod send;
mod simulate;
mod state;
mod subscribe;
mod tracer;
mod txpool;

use std::{io, net::SocketAddr};

use jsonrpsee::{
    RpcModule,
    core::RegisterMethodError,
    server::{BatchRequestConfig, PingConfig, Server, ServerConfig, ServerHandle},
};
use tower_http::cors::{Any, CorsLayer};

pub(crate) use context::{Context, Settings};

use crate::Error;

/// A server that listens and answers.
pub(crate) struct RpcServer {
    pub(crate) handle: ServerHandle,
    pub(crate) addr: SocketAddr,
    /// Names of the methods that are answered.
    pub(crate) methods: Vec<&'static str>,
}

/// A port that is reserved for the server, before there is anything to serve.
pub(crate) struct Listener(std::net::TcpListener, SocketAddr);

impl Listener {
    /// Errors: [`Error::PortInUse`], [`Error::Listen`].
    pub(crate) fn bind(addr: SocketAddr) -> Result<Self, Error> {
        let listen = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => Error::PortInUse { addr },
            _ => Error::Listen { addr, source },
        };
        let listener = std::net::TcpListener::bind(addr).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        Ok(Self(listener, addr))
    }
}

/// Starts answering.
pub(crate) fn serve(listener: Listener, context: Context) -> Result<RpcServer, Error> {
    let Listener(listener, addr) = listener;
    let module = methods(context).map_err(|error| Error::Internal(error.to_string()))?;
    // Any page may read a development chain, and only signed transactions change it.
    let cors = CorsLayer::new().allow_origin(Any).allow_methods(Any).allow_headers(Any);
    let config = ServerConfig::builder()
        .max_request_body_size(limits::BODY_BYTES_MAX)
        .max_response_body_size(limits::RESPONSE_BYTES_MAX)
        .max_connections(limits::CONNECTIONS_MAX)
        .max_subscriptions_per_connection(limits::SUBSCRIPTIONS_PER_CONNECTION_MAX)
        .set_message_buffer_capacity(limits::MESSAGES_PER_CONNECTION_MAX)
        .set_batch_request_config(BatchRequestConfig::Limit(limits::BATCH_MAX))
        .set_id_provider(subscribe::HexIds::default())
        .enable_ws_ping(PingConfig::default())
        .set_tcp_no_delay(true)
        .build();
    let server = Server::builder()
        .set_config(config)
        .set_http_middleware(tower::ServiceBuilder::new().layer(cors))
        .build_from_tcp(listener)
        .map_err(|source| Error::Listen { addr, source })?;
    let methods = module.method_names().collect();
    Ok(RpcServer { handle: server.start(module), addr, methods })
}

fn methods(context: Context) -> Result<RpcModule<Context>, RegisterMethodError> {
    let admin = context.settings.admin;
    let mut module = RpcModule::new(context);
    node_info::register(&mut module)?;
    blocks::register(&mut module)?;
    state::register(&mut module)?;
    call::register(&mut module)?;
    fees::register(&mut module)?;
    logs::register(&mut module)?;
    send::register(&mut module)?;
    subscribe::register(&mut module)?;
    simulate::register(&mut module)?;
    debug::register(&mut module)?;
    raw::register(&mut module)?;
    parity::register(&mut module)?;
    txpool::register(&mut module)?;
    optimism::register(&mut module)?;
    if admin {
        admin::register(&mut module)?;
    }
    Ok(module)
}
