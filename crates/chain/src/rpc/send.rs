//! Taking transactions in.

use std::{sync::Arc, time::Duration};

use alloy_primitives::{B256, Bytes, keccak256};
use jsonrpsee::{RpcModule, core::RegisterMethodError};
use op_alloy_rpc_types::OpTransactionReceipt;
use tokio::sync::broadcast::error::RecvError;

use super::{
    blocks,
    context::Context,
    error::{RpcResult, internal, not_included_in_time, refused},
    limits::{SEND_SYNC_TIMEOUT, SEND_SYNC_TIMEOUT_MAX},
};
use crate::{chain::Event, pool::PoolError, transaction::SignedTx};

pub(super) fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_async_method("eth_sendRawTransaction", |params, context, _| async move {
        send(&context, params.sequence().next()?).await
    })?;
    module.register_async_method(
        "eth_sendRawTransactionSync",
        |params, context, _| async move {
            let mut params = params.sequence();
            let tx: Bytes = params.next()?;
            let timeout: Option<u64> = params.optional_next()?;
            send_and_wait(&context, tx, timeout.map(Duration::from_millis)).await
        },
    )?;
    Ok(())
}

/// Acknowledges a transaction once it is in the pool and in the journal.
async fn send(context: &Context, encoded: Bytes) -> RpcResult<B256> {
    let decoded = decode(context, encoded);
    send_all(context, vec![decoded]).await.pop().unwrap_or_else(|| Err(internal("no outcome")))
}

/// Decodes a transaction and recovers its sender, which costs more than everything else that happens
/// to it. One that is in the pool already is known by its hash.
pub(super) fn decode(context: &Context, encoded: Bytes) -> RpcResult<Arc<SignedTx>> {
    if context.chain.pool().get(keccak256(&encoded)).is_some() {
        context.chain.metrics.tx_refused(PoolError::AlreadyKnown.label());
        return Err(refused(PoolError::AlreadyKnown));
    }
    let decoded = SignedTx::decode(encoded).map(Arc::new);
    decoded.inspect_err(|_| context.chain.metrics.tx_refused("malformed")).map_err(refused)
}

/// Acknowledges transactions once they are in the pool and in the journal: one write for all.
pub(super) async fn send_all(
    context: &Context,
    decoded: Vec<RpcResult<Arc<SignedTx>>>,
) -> Vec<RpcResult<B256>> {
    let metrics = &context.chain.metrics;
    metrics.txs_received(decoded.len());
    let valid: Vec<Arc<SignedTx>> = decoded.iter().flatten().cloned().collect();
    let submitted = context.chain.submit(&valid);
    let accepted: Vec<&Arc<SignedTx>> =
        valid.iter().zip(&submitted).filter(|(_, done)| done.is_ok()).map(|(tx, _)| tx).collect();
    let bytes: Vec<Bytes> = accepted.iter().map(|tx| tx.encoded.clone()).collect();
    let journalled = if bytes.is_empty() { Ok(()) } else { context.journal.write(&bytes).await };
    if journalled.is_ok() {
        context.chain.release(accepted.iter().copied());
        context.bell.ring();
        for tx in accepted {
            context.chain.announce_transaction(Arc::clone(tx));
        }
    } else {
        let mut pool = context.chain.pool();
        accepted.into_iter().for_each(|tx| pool.remove(tx));
    }
    let mut submitted = submitted.into_iter();
    let outcome = |decoded: RpcResult<Arc<SignedTx>>| {
        let tx = decoded?;
        let taken = submitted.next().unwrap_or(Ok(()));
        taken.inspect_err(|error| metrics.tx_refused(error.label())).map_err(refused)?;
        journalled.as_ref().map_err(|reason| {
            metrics.tx_refused("not_durable");
            internal(format!(
                "the transaction could not be made durable, and was not accepted: {reason}"
            ))
        })?;
        Ok(tx.hash())
    };
    decoded.into_iter().map(outcome).collect()
}

async fn send_and_wait(
    context: &Context,
    encoded: Bytes,
    timeout: Option<Duration>,
) -> RpcResult<OpTransactionReceipt> {
    let timeout = timeout.unwrap_or(SEND_SYNC_TIMEOUT).min(SEND_SYNC_TIMEOUT_MAX);
    // Before it is sent, so that its block cannot pass unseen.
    let mut events = context.chain.subscribe();
    let hash = send(context, encoded).await?;
    let included = async {
        loop {
            if let Some(receipt) = blocks::receipt(context, hash)? {
                return Ok(receipt);
            }
            loop {
                match events.recv().await {
                    Ok(Event::Block(_)) | Err(RecvError::Lagged(_)) => break,
                    Ok(Event::Transaction(_)) => {}
                    Err(RecvError::Closed) => return Err(refused("the node is stopping")),
                }
            }
        }
    };
    tokio::time::timeout(timeout, included)
        .await
        .unwrap_or_else(|_| Err(not_included_in_time(hash)))
}
