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
mod dev;
mod error;
mod fast;
mod fees;
mod filters;
mod gate;
mod hex_params;
mod hosts;
mod l1_fields;
mod limits;
mod logs;
mod measured;
mod node_info;
mod object;
mod optimism;
mod origins;
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

use std::{io, net::SocketAddr, sync::Arc};

use jsonrpsee::{
    RpcModule,
    core::{RegisterMethodError, middleware::RpcServiceBuilder},
    server::{BatchRequestConfig, PingConfig, Server, ServerConfig, ServerHandle},
};

pub(crate) use context::{Context, Settings};
pub(crate) use hosts::AllowedHosts;

use self::{fast::FastSendLayer, gate::GateLayer, measured::Measured, origins::Origins};
use crate::{Config, Error};

/// A server that listens and answers.
pub(crate) struct RpcServer {
    pub(crate) handle: ServerHandle,
    pub(crate) addr: SocketAddr,
    /// Names of the methods that are answered.
    pub(crate) methods: Vec<&'static str>,
}

/// Who may call.
pub(crate) struct Access {
    hosts: AllowedHosts,
    origins: Origins,
}

impl Access {
    /// Errors: [`Error::InvalidConfig`]; [`Error::DevOnPublicAddress`].
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let addr = config.rpc_addr;
        if config.dev && !config.dev_public && !addr.ip().to_canonical().is_loopback() {
            return Err(Error::DevOnPublicAddress { addr });
        }
        let hosts = AllowedHosts::new(&config.allowed_hosts)?;
        let origins = Origins::new(&config.cors_origins, config.dev)?;
        Ok(Self { hosts, origins })
    }

    /// The names that the node may be called by.
    pub(crate) fn hosts(&self) -> AllowedHosts {
        self.hosts.clone()
    }
}

/// A port that is reserved for a server, before there is anything to serve.
pub(crate) struct Listener(pub(crate) std::net::TcpListener, pub(crate) SocketAddr);

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
pub(crate) fn serve(
    listener: Listener,
    access: Access,
    context: Context,
) -> Result<RpcServer, Error> {
    let Listener(listener, addr) = listener;
    let context = Arc::new(context);
    let metrics = Arc::clone(&context.chain.metrics);
    let module =
        methods(Arc::clone(&context)).map_err(|error| Error::Internal(error.to_string()))?;
    let methods = metrics.methods(module.method_names());
    let fast = FastSendLayer { context, methods: methods.clone() };
    let Access { hosts, origins } = access;
    let cors = origins.cors();
    let gate = GateLayer { hosts, origins, metrics };
    let measured = RpcServiceBuilder::new()
        .layer_fn(move |service| Measured { service, methods: methods.clone() });
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
        .set_http_middleware(tower::ServiceBuilder::new().layer(gate).layer(cors).layer(fast))
        .set_rpc_middleware(measured)
        .build_from_tcp(listener)
        .map_err(|source| Error::Listen { addr, source })?;
    let methods = module.method_names().collect();
    Ok(RpcServer { handle: server.start(module), addr, methods })
}

/// Every method, on `context`.
pub(crate) fn methods(context: Arc<Context>) -> Result<RpcModule<Context>, RegisterMethodError> {
    let (admin, dev) = (context.settings.admin, context.settings.dev);
    let mut module = RpcModule::from_arc(context);
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
    if dev {
        dev::register(&mut module)?;
    } else {
        node_info::register_without_keys(&mut module)?;
    }
    Ok(module)
}
