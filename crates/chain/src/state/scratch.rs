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

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, Bytes, U256};
    use revm::{bytecode::Bytecode, state::AccountInfo};

    use super::*;
    use crate::{
        Genesis,
        state::{Account, BlockHashes},
    };

    #[test]
    fn the_roots_are_those_of_the_state_with_the_changes() {
        let mut state = Genesis::devnet().state();
        let (rich, fresh) = (crate::dev_accounts()[0], Address::repeat_byte(9));
        let view = StateView { state: state.clone(), hashes: BlockHashes::default() };
        let mut db = CacheDB::new(view);
        let Ok(_) = db.load_account(crate::dev_accounts()[1]);
        assert_eq!(roots_with(&db).state, state.root(), "reading changes nothing");

        let code = Bytes::from_static(&[0x60, 0x01]);
        let info = AccountInfo {
            nonce: 1,
            code: Some(Bytecode::new_legacy(code.clone())),
            code_hash: alloy_primitives::keccak256(&code),
            ..AccountInfo::default()
        };
        for (address, info) in [
            (fresh, info.clone()),
            (MESSAGE_PASSER, info),
            (rich, AccountInfo::from_balance(U256::from(5))),
            // Empty, so not there (EIP-161).
            (Address::repeat_byte(8), AccountInfo::default()),
        ] {
            db.insert_account_info(address, info);
            let Ok(account) = db.load_account(address);
            account.account_state = AccountState::Touched;
        }
        for address in [fresh, MESSAGE_PASSER] {
            let Ok(()) = db.insert_account_storage(address, U256::from(1), U256::from(2));
            let Ok(()) = db.insert_account_storage(address, U256::from(3), U256::ZERO);
            let mut account = Account::new(1, U256::ZERO);
            account.set_code(code.clone());
            account.set_storage(U256::from(1), U256::from(2));
            state.set_account(address, account);
        }
        state.set_account(rich, Account::new(0, U256::from(5)));
        let roots = roots_with(&db);
        assert_eq!(roots.state, state.root());
        assert_eq!(roots.withdrawals, state.storage_root(MESSAGE_PASSER));
    }
}
