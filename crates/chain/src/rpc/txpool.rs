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
        let counts = context.chain.pool().counts();
        json!({ "pending": U64::from(counts.pending), "queued": U64::from(counts.queued) })
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
        let mut content = Self { pending: BTreeMap::new(), queued: BTreeMap::new() };
        let queue = |txs: Vec<Arc<SignedTx>>| -> Queue<Arc<SignedTx>> {
            txs.into_iter().map(|tx| (tx.nonce(), tx)).collect()
        };
        for of_sender in context.chain.pool().content(only) {
            let key = of_sender.sender.to_checksum(None);
            if !of_sender.pending.is_empty() {
                content.pending.insert(key.clone(), queue(of_sender.pending));
            }
            if !of_sender.queued.is_empty() {
                content.queued.insert(key, queue(of_sender.queued));
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
