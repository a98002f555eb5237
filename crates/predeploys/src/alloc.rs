//! Accounts in geth's JSON shape.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U64, U256};
use serde::Serialize;

/// Accounts by address.
pub(crate) type Alloc = BTreeMap<Address, Account>;

/// One account at genesis. What is zero or empty is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Account {
    #[serde(skip_serializing_if = "U256::is_zero")]
    pub(crate) balance: U256,
    pub(crate) nonce: U64,
    #[serde(skip_serializing_if = "<[u8]>::is_empty")]
    pub(crate) code: Bytes,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) storage: BTreeMap<B256, B256>,
}

impl Account {
    /// A contract whose storage is empty. Its nonce is 1, as a deployment leaves it (EIP-161).
    pub(crate) fn contract(code: Bytes) -> Self {
        Self { nonce: U64::ONE, code, ..Self::default() }
    }
}
