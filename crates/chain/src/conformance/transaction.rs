//! Decoding transactions.

use alloy_consensus::{
    EthereumTxEnvelope, TxEip4844, TxEnvelope,
    transaction::{Recovered, SignerRecoverable},
};
use alloy_eips::eip2718::Decodable2718;
use alloy_evm::FromRecoveredTx;
use alloy_primitives::Bytes;
use op_alloy_consensus::OpTxEnvelope;
use revm::context::TxEnv;

use crate::transaction::{DecodeError, SignedTx};

/// A transaction of Ethereum, as blocks hold it: blob transactions without their sidecar.
pub type EthTx = EthereumTxEnvelope<TxEip4844>;

/// Decodes as the node's `eth_sendRawTransaction` does, and recovers the sender.
///
/// What the node refuses for its own reasons, blobs and more than 128 KiB, is decoded by the same
/// library without those two checks.
///
/// Errors: why these bytes are not a transaction.
pub fn decode_user_transaction(encoded: Bytes) -> Result<Recovered<EthTx>, String> {
    match SignedTx::decode(encoded.clone()) {
        Ok(signed) => {
            let (tx, sender) = signed.tx.into_parts();
            let tx = match tx {
                OpTxEnvelope::Legacy(tx) => EthTx::Legacy(tx),
                OpTxEnvelope::Eip2930(tx) => EthTx::Eip2930(tx),
                OpTxEnvelope::Eip1559(tx) => EthTx::Eip1559(tx),
                OpTxEnvelope::Eip7702(tx) => EthTx::Eip7702(tx),
                other => return Err(format!("no transaction of Ethereum: {other:?}")),
            };
            Ok(Recovered::new_unchecked(tx, sender))
        }
        Err(DecodeError::Blob | DecodeError::Oversized { .. }) => {
            let tx = decode_any(&encoded)?;
            tx.try_into_recovered().map_err(|_| DecodeError::Signature.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// As [`decode_user_transaction`], under Frontier's rule that a signature may have a high `s`.
///
/// Errors: why these bytes are not a transaction.
pub fn recover_before_homestead(encoded: &[u8]) -> Result<Recovered<EthTx>, String> {
    let tx = decode_any(encoded)?;
    let sender = tx.recover_signer_unchecked().map_err(|_| DecodeError::Signature.to_string())?;
    Ok(Recovered::new_unchecked(tx, sender))
}

/// Any transaction, blob transactions with or without their sidecar.
fn decode_any(encoded: &[u8]) -> Result<EthTx, String> {
    TxEnvelope::decode_2718_exact(encoded).map(EthTx::from).map_err(|error| error.to_string())
}

/// The form that the EVM takes.
pub fn tx_env(tx: &Recovered<EthTx>) -> TxEnv {
    TxEnv::from_recovered_tx(tx.inner(), tx.signer())
}
