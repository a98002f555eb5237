//! What one block changed in the state, as the block log keeps it.

use alloy_primitives::{Address, Bytes, U256};
use alloy_rlp::{RlpDecodable, RlpEncodable};

/// What one block changed, by address.
#[derive(Clone, Debug, Default, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct StateDiff {
    pub(crate) accounts: Vec<AccountDiff>,
}

/// What one block changed in one account.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct AccountDiff {
    pub(crate) address: Address,
    /// The account is gone. The fields below are then empty.
    pub(crate) deleted: bool,
    pub(crate) nonce: u64,
    pub(crate) balance: U256,
    /// The new code, one entry, if it changed.
    pub(crate) code: Vec<Bytes>,
    /// Slots that are not listed in `storage` are zero now.
    pub(crate) storage_cleared: bool,
    pub(crate) storage: Vec<SlotDiff>,
}

/// The new value of a storage slot.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct SlotDiff {
    pub(crate) slot: U256,
    pub(crate) value: U256,
}

impl AccountDiff {
    /// The account at `address` is gone.
    pub(crate) fn deleted(address: Address) -> Self {
        Self {
            address,
            deleted: true,
            nonce: 0,
            balance: U256::ZERO,
            code: Vec::new(),
            storage_cleared: true,
            storage: Vec::new(),
        }
    }
}
