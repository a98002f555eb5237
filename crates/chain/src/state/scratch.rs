//! What was changed over a state without becoming a block.

use alloy_primitives::B256;
use revm::database::{AccountState, CacheDB};

use super::{
    StateDiff, StateView,
    diff::{AccountDiff, SlotDiff},
};
use crate::execution::MESSAGE_PASSER;

/// Roots that a header commits to.
pub(crate) struct Roots {
    /// Of the accounts.
    pub(crate) state: B256,
    /// Of the message passer's storage.
    pub(crate) withdrawals: B256,
}

/// The roots that the state under `db` would have with the changes that `db` holds.
pub(crate) fn roots_with(db: &CacheDB<StateView>) -> Roots {
    let mut state = db.db.state.clone();
    state.apply(&changes(db));
    Roots { state: state.root(), withdrawals: state.storage_root(MESSAGE_PASSER) }
}

/// The changes that `db` holds over the state under it.
fn changes(db: &CacheDB<StateView>) -> StateDiff {
    let changed = db.cache.accounts.iter().filter(|(_, account)| {
        // What was only read.
        account.account_state != AccountState::None
    });
    let accounts = changed.map(|(address, account)| {
        // EIP-161: what is empty is not there.
        let gone = account.account_state == AccountState::NotExisting || account.info.is_empty();
        if gone {
            return AccountDiff::deleted(*address);
        }
        let code = account.info.code.as_ref();
        let code = code.or_else(|| db.cache.contracts.get(&account.info.code_hash));
        let code = code.map(revm::bytecode::Bytecode::original_bytes);
        AccountDiff {
            address: *address,
            deleted: false,
            nonce: account.info.nonce,
            balance: account.info.balance,
            code: code.into_iter().collect(),
            storage_cleared: account.account_state == AccountState::StorageCleared,
            storage: account
                .storage
                .iter()
                .map(|(slot, value)| SlotDiff { slot: *slot, value: *value })
                .collect(),
        }
    });
    StateDiff { accounts: accounts.collect() }
}
