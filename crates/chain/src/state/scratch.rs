//! What was changed over a state without becoming a block.

use revm::{
    bytecode::Bytecode,
    database::{AccountState, CacheDB},
};

use super::{
    StateDiff,
    diff::{AccountDiff, SlotDiff},
};

/// The changes that `db` holds over the state under it.
pub(crate) fn changes<D>(db: &CacheDB<D>) -> StateDiff {
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
        AccountDiff {
            address: *address,
            deleted: false,
            nonce: account.info.nonce,
            balance: account.info.balance,
            code: code.map(Bytecode::original_bytes).into_iter().collect(),
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
