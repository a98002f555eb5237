//! What waits in the pool, in geth's shapes.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, U64};
use jsonrpsee::{RpcModule, core::RegisterMethodError};
use op_alloy_rpc_types::Transaction;
use serde::Serialize;
use serde_json::{json, value::RawValue};

use super::{context::Context, convert, error::RpcResult, limits::POOL_CONTENT_BYTES_MAX, output};
use crate::transaction::SignedTx;

pub(super) fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_method("txpool_status", |_, context, _| {
        let state = context.chain.tip().state;
        let (pending, queued) = context.chain.pool().status(|sender| state.nonce(sender));
        json!({ "pending": U64::from(pending), "queued": U64::from(queued) })
    })?;
    module.register_blocking_method("txpool_content", |_, context, _| {
        bounded(&Content::of(&context, None).map(|tx| convert::pending(&tx.tx)))
    })?;
    module.register_blocking_method("txpool_contentFrom", |params, context, _| {
        let sender: Address = params.sequence().next()?;
        let mut content: Content<Senders<Transaction>> =
            Content::of(&context, Some(sender)).map(|tx| convert::pending(&tx.tx));
        let key = sender.to_checksum(None);
        let of_sender = Content {
            pending: content.pending.remove(&key).unwrap_or_default(),
            queued: content.queued.remove(&key).unwrap_or_default(),
        };
        bounded(&of_sender)
    })?;
    module.register_blocking_method("txpool_inspect", |_, context, _| {
        bounded(&Content::of(&context, None).map(summary))
    })?;
    Ok(())
}

fn bounded(content: &impl Serialize) -> RpcResult<Box<RawValue>> {
    output::json_within(content, POOL_CONTENT_BYTES_MAX)
}

/// One sender's transactions by nonce. The nonces are decimal, and so sorted as numbers here.
type Queue<T> = BTreeMap<u64, T>;

/// Every sender's transactions, by address with its checksum.
type Senders<T> = BTreeMap<String, Queue<T>>;

/// Transactions that can run now and those that wait for an earlier nonce.
#[derive(Serialize)]
struct Content<S> {
    pending: S,
    queued: S,
}

impl Content<Senders<Arc<SignedTx>>> {
    fn of(context: &Context, only: Option<Address>) -> Self {
        let state = context.chain.tip().state;
        let waiting = context.chain.pool().waiting(only);
        let mut content = Self { pending: BTreeMap::new(), queued: BTreeMap::new() };
        for (sender, txs) in waiting {
            let mut next = state.nonce(sender);
            let (mut pending, mut queued) = (Queue::new(), Queue::new());
            for tx in txs {
                if tx.nonce() == next {
                    next += 1;
                    pending.insert(tx.nonce(), tx);
                } else {
                    queued.insert(tx.nonce(), tx);
                }
            }
            let key = sender.to_checksum(None);
            if !pending.is_empty() {
                content.pending.insert(key.clone(), pending);
            }
            if !queued.is_empty() {
                content.queued.insert(key, queued);
            }
        }
        content
    }

    fn map<T>(self, form: impl Fn(&SignedTx) -> T) -> Content<Senders<T>> {
        let queue = |queue: Queue<Arc<SignedTx>>| -> Queue<T> {
            queue.into_iter().map(|(nonce, tx)| (nonce, form(&tx))).collect()
        };
        let senders = |senders: Senders<Arc<SignedTx>>| -> Senders<T> {
            senders.into_iter().map(|(sender, txs)| (sender, queue(txs))).collect()
        };
        Content { pending: senders(self.pending), queued: senders(self.queued) }
    }
}

/// One line, as geth writes it.
fn summary(tx: &SignedTx) -> String {
    let (value, gas, price) = (tx.tx.value(), tx.tx.gas_limit(), tx.tx.max_fee_per_gas());
    let to = tx.tx.to().map_or("contract creation".to_owned(), |to| to.to_checksum(None));
    format!("{to}: {value} wei + {gas} gas × {price} wei")
}
