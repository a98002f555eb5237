//! Taking transactions in.

use std::{sync::Arc, time::Duration};

use alloy_primitives::{B256, Bytes};
use jsonrpsee::{RpcModule, core::RegisterMethodError};
use op_alloy_rpc_types::OpTransactionReceipt;
use tokio::sync::broadcast::error::RecvError;

use super::{
    blocks,
    context::Context,
    error::{RpcResult, internal, not_included_in_time, refused},
    limits::{SEND_SYNC_TIMEOUT, SEND_SYNC_TIMEOUT_MAX},
};
use crate::{BlockProduction, chain::Event, producer::Command, transaction::SignedTx};

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
    let tx = Arc::new(SignedTx::decode(encoded).map_err(refused)?);
    let hash = tx.hash();
    context.chain.submit(Arc::clone(&tx)).map_err(refused)?;
    if !context.journal.write(tx.encoded.clone()).await {
        context.chain.pool().remove(&tx);
        return Err(internal("the transaction could not be made durable: nothing was accepted"));
    }
    context.chain.announce_transaction(tx);
    if context.production == BlockProduction::OnTransaction {
        // If the producer has stopped there will be no block; the transaction is journalled.
        let _ = context.commands.send(Command::TransactionArrived);
    }
    Ok(hash)
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
