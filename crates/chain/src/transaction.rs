//! A user's signed transaction, decoded and with its sender recovered.

use alloy_consensus::{
    Transaction,
    transaction::{Recovered, SignerRecoverable},
};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, U256};
use op_alloy_consensus::{OpPooledTransaction, OpTxEnvelope};

/// The largest transaction that is accepted, as in geth's pool.
pub(crate) const TX_BYTES_MAX: usize = 128 * 1024;

/// EIP-2718 type of a blob transaction.
const BLOB_TX_TYPE: u8 = 3;
/// EIP-2718 type of a deposit.
const DEPOSIT_TX_TYPE: u8 = 0x7e;

/// A user's transaction. Legacy, EIP-2930, EIP-1559 or EIP-7702: other kinds cannot be held in it.
#[derive(Clone, Debug)]
pub(crate) struct SignedTx {
    pub(crate) tx: Recovered<OpTxEnvelope>,
    /// EIP-2718 bytes.
    pub(crate) encoded: Bytes,
}

/// Why bytes are not a user's transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("oversized data: transaction of {size} bytes, the limit is {TX_BYTES_MAX}")]
    Oversized { size: usize },
    #[error("transaction type not supported: blob transactions have no place on a rollup")]
    Blob,
    #[error("transaction type not supported: deposits come from L1 only")]
    Deposit,
    #[error("failed to decode signed transaction: {0}")]
    Malformed(String),
    #[error("invalid signature: no sender can be recovered from it")]
    Signature,
}

impl SignedTx {
    /// Decodes EIP-2718 bytes and recovers the sender.
    pub(crate) fn decode(encoded: Bytes) -> Result<Self, DecodeError> {
        if encoded.len() > TX_BYTES_MAX {
            return Err(DecodeError::Oversized { size: encoded.len() });
        }
        match encoded.first() {
            Some(&BLOB_TX_TYPE) => return Err(DecodeError::Blob),
            Some(&DEPOSIT_TX_TYPE) => return Err(DecodeError::Deposit),
            _ => {}
        }
        let pooled = OpPooledTransaction::decode_2718_exact(&encoded)
            .map_err(|error| DecodeError::Malformed(error.to_string()))?;
        let tx = OpTxEnvelope::from(pooled);
        let sender = tx.recover_signer().map_err(|_| DecodeError::Signature)?;
        Ok(Self { tx: Recovered::new_unchecked(tx, sender), encoded })
    }

    pub(crate) fn hash(&self) -> B256 {
        self.tx.inner().tx_hash()
    }

    pub(crate) fn sender(&self) -> Address {
        self.tx.signer()
    }

    pub(crate) fn nonce(&self) -> u64 {
        self.tx.nonce()
    }

    /// Value plus the most that its gas can cost. L1 and operator fees come on top.
    pub(crate) fn cost_max(&self) -> U256 {
        U256::from(self.tx.max_fee_per_gas())
            .saturating_mul(U256::from(self.tx.gas_limit()))
            .saturating_add(self.tx.value())
    }
}

#[cfg(test)]
mod tests {
    use alloy_consensus::crypto::secp256k1::public_key_to_address;
    use alloy_primitives::address;

    use super::*;

    /// alloy's recovery takes the key type of the library that it was built with. The pure-Rust one
    /// is 4.7 times slower, and a change of features could choose it silently: then this does not
    /// compile.
    #[test]
    fn senders_are_recovered_by_the_c_library() {
        let address_of: fn(secp256k1::PublicKey) -> Address = public_key_to_address;
        let generator = secp256k1::SecretKey::from_slice(B256::with_last_byte(1).as_slice())
            .unwrap()
            .public_key(secp256k1::SECP256K1);
        let expected = address!("0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf");
        assert_eq!(address_of(generator), expected);
    }

    #[test]
    fn blobs_deposits_and_rubbish_are_refused_by_name() {
        let refused = |bytes: &[u8]| SignedTx::decode(Bytes::copy_from_slice(bytes)).unwrap_err();
        assert_eq!(refused(&[3, 0xc0]), DecodeError::Blob);
        assert_eq!(refused(&[0x7e, 0xc0]), DecodeError::Deposit);
        assert!(matches!(refused(&[]), DecodeError::Malformed(_)));
        assert!(matches!(refused(&[2, 0xc0]), DecodeError::Malformed(_)));
        assert!(matches!(refused(&[0x7d, 0xc0]), DecodeError::Malformed(_)));
        let size = TX_BYTES_MAX + 1;
        assert_eq!(refused(&vec![2; size]), DecodeError::Oversized { size });
    }
}
