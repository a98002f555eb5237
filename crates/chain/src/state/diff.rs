//! What one block changed in the state, as the block log keeps it.

use alloy_primitives::{Address, Bytes, U256};
use alloy_rlp::{RlpDecodable, RlpEncodable};
use revm::database::BundleState;

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

impl StateDiff {
    /// The changes that the EVM collected over a block, in address and slot order so that equal
    /// blocks give equal bytes.
    pub(crate) fn from_bundle(bundle: BundleState) -> Self {
        let mut accounts = Vec::with_capacity(bundle.state.len());
        for (address, account) in bundle.state {
            let storage_cleared = account.status.was_destroyed();
            let Some(info) = account.info else {
                if account.original_info.is_some() {
                    accounts.push(AccountDiff::deleted(address));
                }
                continue;
            };
            let original = account.original_info.unwrap_or_default();
            let mut storage: Vec<SlotDiff> = account
                .storage
                .into_iter()
                .filter(|(_, slot)| storage_cleared || slot.is_changed())
                .map(|(slot, value)| SlotDiff { slot, value: value.present_value })
                .collect();
            storage.sort_unstable_by_key(|diff| diff.slot);
            let code_changed = info.code_hash != original.code_hash || storage_cleared;
            if !code_changed
                && storage.is_empty()
                && info.copy_without_code() == original.copy_without_code()
            {
                continue;
            }
            let code = if code_changed {
                let code = info
                    .code
                    .or_else(|| bundle.contracts.get(&info.code_hash).cloned())
                    .unwrap_or_default();
                vec![code.original_bytes()]
            } else {
                Vec::new()
            };
            accounts.push(AccountDiff {
                address,
                deleted: false,
                nonce: info.nonce,
                balance: info.balance,
                code,
                storage_cleared,
                storage,
            });
        }
        accounts.sort_unstable_by_key(|diff| diff.address);
        Self { accounts }
    }
}

impl AccountDiff {
    pub(super) fn deleted(address: Address) -> Self {
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
