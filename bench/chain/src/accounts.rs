//! Who sends and who receives. Everything follows from an index, so that every run and every node sees
//! the same accounts.

use alloy_consensus::{SignableTransaction, TxEip1559, transaction::RlpEcdsaEncodableTx};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256};
use secp256k1::{Message, PublicKey, SECP256K1, SecretKey, ecdsa::RecoveryId};

/// What every transaction offers: far above any base fee, and the same for all, so that order of
/// arrival is the only order.
const MAX_FEE_PER_GAS: u128 = 100_000_000_000;
const PRIORITY_FEE_PER_GAS: u128 = 1_000_000_000;

/// An account whose key is known.
#[derive(Clone)]
pub(crate) struct Account {
    key: SecretKey,
    /// Its address.
    pub(crate) address: Address,
}

/// A signed transaction.
#[derive(Clone)]
pub(crate) struct SignedTx {
    /// EIP-2718 bytes.
    pub(crate) raw: Vec<u8>,
    /// Its hash.
    pub(crate) hash: B256,
}

/// What a transaction does.
#[derive(Clone)]
pub(crate) struct Call {
    /// `None` deploys `input`.
    pub(crate) to: Option<Address>,
    /// Wei.
    pub(crate) value: U256,
    /// Gas limit.
    pub(crate) gas: u64,
    /// Calldata.
    pub(crate) input: Bytes,
}

impl Account {
    /// The account with this purpose and index.
    pub(crate) fn derive(purpose: &str, index: u64) -> Self {
        let seed = keccak256([purpose.as_bytes(), &index.to_be_bytes()].concat());
        let key = SecretKey::from_slice(seed.as_slice());
        let key = key.expect("a hash is a valid key but for one in 2^127");
        let public = PublicKey::from_secret_key(SECP256K1, &key).serialize_uncompressed();
        Self { key, address: Address::from_raw_public_key(&public[1..]) }
    }

    /// `count` of them.
    pub(crate) fn derive_many(purpose: &str, count: usize) -> Vec<Self> {
        (0..count as u64).map(|index| Self::derive(purpose, index)).collect()
    }

    /// Signs a digest.
    pub(crate) fn sign(&self, digest: B256) -> Signature {
        let message = Message::from_digest(digest.0);
        let signature = SECP256K1.sign_ecdsa_recoverable(&message, &self.key);
        let (recovery, bytes) = signature.serialize_compact();
        Signature::from_bytes_and_parity(&bytes, recovery == RecoveryId::One)
    }

    /// Signs an EIP-1559 transaction.
    pub(crate) fn transact(&self, chain_id: u64, nonce: u64, call: Call) -> SignedTx {
        let tx = TxEip1559 {
            chain_id,
            nonce,
            gas_limit: call.gas,
            max_fee_per_gas: MAX_FEE_PER_GAS,
            max_priority_fee_per_gas: PRIORITY_FEE_PER_GAS,
            to: call.to.map_or(TxKind::Create, TxKind::Call),
            value: call.value,
            input: call.input,
            ..TxEip1559::default()
        };
        let signature = self.sign(tx.signature_hash());
        let mut raw = Vec::new();
        tx.eip2718_encode(&signature, &mut raw);
        let hash = keccak256(&raw);
        SignedTx { raw, hash }
    }
}

/// Address of account `index` of those that a preloaded state holds. Nobody has its key.
pub(crate) fn resident(index: u64) -> Address {
    Address::from_word(keccak256([b"resident".as_slice(), &index.to_be_bytes()].concat()))
}

#[cfg(test)]
mod tests {
    use alloy_consensus::{TxEnvelope, transaction::SignerRecoverable};
    use alloy_eips::eip2718::Decodable2718;

    use super::*;

    #[test]
    fn a_signed_transaction_names_its_sender_and_its_hash() {
        let account = Account::derive("test", 7);
        let call =
            Call { to: Some(resident(1)), value: U256::ONE, gas: 21_000, input: Bytes::new() };
        let signed = account.transact(161_337, 3, call);
        let decoded = TxEnvelope::decode_2718_exact(&signed.raw).unwrap();
        assert_eq!(decoded.recover_signer().unwrap(), account.address);
        assert_eq!(*decoded.tx_hash(), signed.hash);
    }
}
