//! Contract code by its hash.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use alloy_consensus::constants::KECCAK_EMPTY;
use alloy_primitives::{B256, Bytes, keccak256};
use foldhash::fast::RandomState;
use revm::bytecode::Bytecode;

/// Every code that an account has or had, once.
#[derive(Default)]
pub(super) struct Codes(RwLock<HashMap<B256, Bytecode, RandomState>>);

impl Codes {
    /// Remembers `code`. Returns its hash and the shared form; `None` where it is empty.
    pub(super) fn add(&self, code: &Bytes) -> (B256, Option<Bytecode>) {
        if code.is_empty() {
            return (KECCAK_EMPTY, None);
        }
        let hash = keccak256(code);
        if let Some(known) = self.get(&hash) {
            return (hash, Some(known));
        }
        // The EVM never deploys a malformed delegation (EIP-3541), but a genesis may hold anything.
        let code = Bytecode::new_raw_checked(code.clone())
            .unwrap_or_else(|_| Bytecode::new_legacy(code.clone()));
        let mut codes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        codes.insert(hash, code.clone());
        (hash, Some(code))
    }

    /// The code with this hash.
    pub(super) fn get(&self, hash: &B256) -> Option<Bytecode> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }
}
