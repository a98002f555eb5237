//! One account, with its storage.

use alloy_consensus::constants::KECCAK_EMPTY;
use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_rlp::Encodable;
use alloy_trie::TrieAccount;
use revm::{bytecode::Bytecode, state::AccountInfo};

use crate::trie::{Trie, TrieValue};

/// One account as the state holds it.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) nonce: u64,
    pub(crate) balance: U256,
    code_hash: B256,
    /// `None` where there is no code.
    code: Option<Bytecode>,
    storage: Trie<U256>,
}

impl Account {
    /// An account without code and storage.
    pub(crate) fn new(nonce: u64, balance: U256) -> Self {
        Self { nonce, balance, code_hash: KECCAK_EMPTY, code: None, storage: Trie::default() }
    }

    /// Replaces the code.
    pub(crate) fn set_code(&mut self, code: Bytes) {
        self.code_hash = keccak256(&code);
        // The EVM never deploys a malformed delegation (EIP-3541), but a genesis may hold anything.
        self.code = (!code.is_empty()).then(|| {
            Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new_legacy(code))
        });
    }

    /// Sets a storage slot; zero removes it.
    pub(crate) fn set_storage(&mut self, slot: U256, value: U256) {
        let key = keccak256(slot.to_be_bytes::<32>());
        if value.is_zero() {
            self.storage.remove(key);
        } else {
            self.storage.insert(key, value);
        }
    }

    /// Removes all storage.
    pub(crate) fn clear_storage(&mut self) {
        self.storage = Trie::default();
    }

    /// The value of a storage slot.
    pub(crate) fn storage(&self, slot: U256) -> U256 {
        if self.storage.is_empty() {
            return U256::ZERO;
        }
        self.storage.get(keccak256(slot.to_be_bytes::<32>())).copied().unwrap_or_default()
    }

    pub(crate) fn storage_root(&self) -> B256 {
        self.storage.root()
    }

    pub(crate) fn storage_proof(&self, slot: U256) -> Vec<Bytes> {
        self.storage.proof(keccak256(slot.to_be_bytes::<32>()))
    }

    pub(crate) fn code_hash(&self) -> B256 {
        self.code_hash
    }

    /// The runtime code.
    pub(crate) fn code(&self) -> Bytes {
        self.code.as_ref().map(Bytecode::original_bytes).unwrap_or_default()
    }

    /// Whether the code is anything but an EIP-7702 delegation: such an account cannot send.
    pub(crate) fn is_contract(&self) -> bool {
        self.code.as_ref().is_some_and(|code| !code.is_eip7702())
    }

    /// The form that the EVM reads.
    pub(crate) fn info(&self) -> AccountInfo {
        AccountInfo {
            balance: self.balance,
            nonce: self.nonce,
            code_hash: self.code_hash,
            code: Some(self.code.clone().unwrap_or_default()),
            ..AccountInfo::default()
        }
    }
}

impl TrieValue for Account {
    fn rlp(&self) -> Vec<u8> {
        alloy_rlp::encode(TrieAccount {
            nonce: self.nonce,
            balance: self.balance,
            storage_root: self.storage.root(),
            code_hash: self.code_hash,
        })
    }
}

impl TrieValue for U256 {
    fn rlp(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(33);
        self.encode(&mut out);
        out
    }
}
