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
    use alloy_primitives::{Address, Bytes, U256, keccak256};
    use revm::{database::EmptyDB, state::AccountInfo};

    use super::*;

    #[test]
    fn what_was_written_is_a_change_and_what_was_read_is_not() {
        let [read, funded, contract, empty] = [1, 2, 3, 4].map(Address::repeat_byte);
        let code = Bytes::from_static(&[0x60, 0x01]);
        let info = AccountInfo {
            nonce: 1,
            code: Some(Bytecode::new_legacy(code.clone())),
            code_hash: keccak256(&code),
            ..AccountInfo::default()
        };
        let mut db = CacheDB::new(EmptyDB::new());
        db.insert_account_info(read, AccountInfo::from_balance(U256::from(9)));
        for (address, info, state) in [
            (funded, AccountInfo::from_balance(U256::from(5)), AccountState::Touched),
            (contract, info, AccountState::StorageCleared),
            (empty, AccountInfo::default(), AccountState::Touched),
        ] {
            db.insert_account_info(address, info);
            let Ok(account) = db.load_account(address);
            account.account_state = state;
        }
        let Ok(()) = db.insert_account_storage(contract, U256::from(1), U256::from(2));

        let mut accounts = changes(&db).accounts;
        accounts.sort_unstable_by_key(|change| change.address);
        let funded = AccountDiff {
            deleted: false,
            balance: U256::from(5),
            storage_cleared: false,
            ..AccountDiff::deleted(funded)
        };
        let contract = AccountDiff {
            deleted: false,
            nonce: 1,
            code: vec![code],
            storage: vec![SlotDiff { slot: U256::from(1), value: U256::from(2) }],
            ..AccountDiff::deleted(contract)
        };
        // The last one is empty, so not there (EIP-161).
        let codeless = |change: &AccountDiff| AccountDiff { code: Vec::new(), ..change.clone() };
        assert_eq!(codeless(&accounts[0]), funded);
        assert_eq!(accounts[1..], [contract, AccountDiff::deleted(empty)]);
    }
}
