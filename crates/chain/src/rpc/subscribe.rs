//! News over WebSocket.

use std::sync::Arc;

use alloy_primitives::U64;
use alloy_rpc_types_eth::{Filter, pubsub};
use jsonrpsee::{
    PendingSubscriptionSink, RpcModule, SubscriptionSink,
    core::{RegisterMethodError, SubscriptionError, traits::IdProvider},
    types::{ErrorObjectOwned, SubscriptionId, error::METHOD_NOT_FOUND_CODE},
};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;

use super::{
    context::Context,
    convert,
    error::{error, invalid},
    logs::{check, matching},
};
use crate::{chain::Event, execution::SealedBlock};

const SUBSCRIBE: &str = "eth_subscribe";
const UNSUBSCRIBE: &str = "eth_unsubscribe";

/// Why `method` cannot be called over plain HTTP, if it cannot: with geth's code for it.
pub(super) fn refusal_over_http(method: &str) -> Option<ErrorObjectOwned> {
    [SUBSCRIBE, UNSUBSCRIBE].contains(&method).then(|| {
        let message = format!(
            "notifications not supported: {method} needs a WebSocket connection (ws:// in place \
             of http://, same address and port)"
        );
        error(METHOD_NOT_FOUND_CODE, message)
    })
}

pub(super) fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_subscription(
        SUBSCRIBE,
        "eth_subscription",
        UNSUBSCRIBE,
        |params, pending, context, _| async move {
            let mut params = params.sequence();
            let kind = params.next::<String>();
            let options = params.optional_next::<pubsub::Params>();
            match (kind, options) {
                (Ok(kind), Ok(options)) => subscribe(pending, &context, &kind, options).await,
                (Err(wrong), _) | (_, Err(wrong)) => {
                    pending.reject(wrong).await;
                    Ok(())
                }
            }
        },
    )?;
    Ok(())
}

/// What a subscriber wants to hear.
enum Topic {
    Heads,
    Logs(Box<Filter>),
    TransactionHashes,
    Transactions,
}

async fn subscribe(
    pending: PendingSubscriptionSink,
    context: &Context,
    kind: &str,
    options: Option<pubsub::Params>,
) -> Result<(), SubscriptionError> {
    let options = options.unwrap_or_default();
    let topic = match (kind, options) {
        ("newHeads", pubsub::Params::None) => Topic::Heads,
        ("logs", pubsub::Params::None) => Topic::Logs(Box::default()),
        ("logs", pubsub::Params::Logs(filter)) => match check(&filter) {
            Ok(()) => Topic::Logs(filter),
            Err(wrong) => {
                pending.reject(wrong).await;
                return Ok(());
            }
        },
        ("newPendingTransactions", pubsub::Params::None | pubsub::Params::Bool(false)) => {
            Topic::TransactionHashes
        }
        ("newPendingTransactions", pubsub::Params::Bool(true)) => Topic::Transactions,
        _ => {
            let message = "subscribe to newHeads, logs (with a filter) or newPendingTransactions";
            pending.reject(invalid(message)).await;
            return Ok(());
        }
    };
    let mut events = context.chain.subscribe();
    let mut next_block = context.chain.head().number() + 1;
    let sink = pending.accept().await?;
    let _open = context.chain.metrics.subscription();
    loop {
        let event = tokio::select! {
            () = sink.closed() => return Ok(()),
            event = events.recv() => event,
        };
        match event {
            Ok(Event::Block(block)) => {
                // A slow subscriber misses events, but no blocks: those between are read back.
                while next_block < block.number() {
                    if let Some(missed) = context.chain.block(next_block)? {
                        tell_block(&sink, &topic, &missed).await?;
                    }
                    next_block += 1;
                }
                if next_block == block.number() {
                    tell_block(&sink, &topic, &block).await?;
                    next_block += 1;
                }
            }
            Ok(Event::Transaction(tx)) => match topic {
                Topic::TransactionHashes => tell(&sink, &tx.hash()).await?,
                Topic::Transactions => tell(&sink, &convert::pending(&tx.tx)).await?,
                Topic::Heads | Topic::Logs(_) => {}
            },
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

async fn tell_block(
    sink: &SubscriptionSink,
    topic: &Topic,
    block: &Arc<SealedBlock>,
) -> Result<(), SubscriptionError> {
    match topic {
        Topic::Heads => tell(sink, &convert::header(block)).await?,
        Topic::Logs(filter) => {
            for log in matching(block, filter) {
                tell(sink, &log).await?;
            }
        }
        Topic::TransactionHashes | Topic::Transactions => {}
    }
    Ok(())
}

async fn tell(sink: &SubscriptionSink, news: &impl Serialize) -> Result<(), SubscriptionError> {
    sink.send(serde_json::value::to_raw_value(news)?).await?;
    Ok(())
}

/// Subscription ids as Ethereum clients expect them: hexadecimal numbers in strings.
#[derive(Debug, Default)]
pub(super) struct HexIds(std::sync::atomic::AtomicU64);

impl IdProvider for HexIds {
    fn next_id(&self) -> SubscriptionId<'static> {
        let id = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        SubscriptionId::Str(format!("{:#x}", U64::from(id)).into())
    }
}
