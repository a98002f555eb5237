//! What an open block has changed so far, on top of the state before it.
//!
//! The executing thread is the only writer. Readers of the `pending` block see its changes as they
//! are made, transaction by transaction.

use std::{
    collections::hash_map::Entry,
    convert::Infallible,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use alloy_primitives::{
    Address, B256, U256,
    map::{AddressMap, U256Map},
};
use revm::{
    Database, DatabaseCommit, DatabaseRef,
    bytecode::Bytecode,
    state::{Account as Touched, AccountInfo},
};

use crate::state::{AccountDiff, SlotDiff, StateDiff, StateView};

/// One account that the block has changed.
#[derive(Clone, Debug)]
struct Changed {
    /// As it was before the block.
    before: Option<AccountInfo>,
    /// As it is now; `None` if it does not exist.
    now: Option<AccountInfo>,
    /// Slots that are not in `storage` are zero.
    storage_cleared: bool,
    storage: U256Map<U256>,
}

/// Everything that an open block has changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    accounts: AddressMap<Changed>,
}

impl Changes {
    /// Takes over what one transaction did.
    fn commit(&mut self, base: &StateView, touched: AddressMap<Touched>) {
        for (address, account) in touched {
            if !account.is_touched() {
                continue;
            }
            let changed = self.account(base, address);
            // EIP-161: an account that was touched and is empty does not exist. One that was created has
            // a nonce since then; before, it exists though it is empty, and revm marks it as created.
            if account.is_selfdestructed() || (account.is_empty() && !account.is_created()) {
                changed.now = None;
                changed.storage_cleared = true;
                changed.storage.clear();
                continue;
            }
            if account.is_created() {
                changed.storage_cleared = true;
                changed.storage.clear();
            }
            for (slot, value) in account.changed_storage_slots() {
                changed.storage.insert(*slot, value.present_value());
            }
            changed.now = Some(account.info);
        }
    }

    fn account(&mut self, base: &StateView, address: Address) -> &mut Changed {
        match self.accounts.entry(address) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let Ok(before) = base.basic_ref(address);
                let now = before.clone();
                let storage = U256Map::default();
                entry.insert(Changed { before, now, storage_cleared: false, storage })
            }
        }
    }

    /// What the block did in all, against `base`, the state before it. In address and slot order, so
    /// that equal blocks give equal bytes.
    pub(crate) fn diff(&self, base: &StateView) -> StateDiff {
        let mut accounts: Vec<AccountDiff> = self
            .accounts
            .iter()
            .filter_map(|(address, changed)| changed.diff(*address, base))
            .collect();
        accounts.sort_unstable_by_key(|diff| diff.address);
        StateDiff { accounts }
    }
}

impl Changed {
    fn diff(&self, address: Address, base: &StateView) -> Option<AccountDiff> {
        let Some(now) = &self.now else {
            return self.before.as_ref().map(|_| AccountDiff::deleted(address));
        };
        let storage_cleared = self.storage_cleared && self.before.is_some();
        let mut storage: Vec<SlotDiff> = self
            .storage
            .iter()
            .filter(|(slot, value)| {
                // A slot may be back at the value that it had.
                let Ok(before) = base.storage_ref(address, **slot);
                if self.storage_cleared { !value.is_zero() } else { before != **value }
            })
            .map(|(slot, value)| SlotDiff { slot: *slot, value: *value })
            .collect();
        storage.sort_unstable_by_key(|diff| diff.slot);
        let unchanged = self.before.as_ref().is_some_and(|before| {
            before.nonce == now.nonce
                && before.balance == now.balance
                && before.code_hash == now.code_hash
        });
        if unchanged && storage.is_empty() && !storage_cleared {
            return None;
        }
        let code_before =
            self.before.as_ref().map_or(AccountInfo::default().code_hash, |b| b.code_hash);
        let code = (now.code_hash != code_before)
            .then(|| now.code.as_ref().map(Bytecode::original_bytes).unwrap_or_default());
        Some(AccountDiff {
            address,
            deleted: false,
            nonce: now.nonce,
            balance: now.balance,
            code: code.into_iter().collect(),
            storage_cleared,
            storage,
        })
    }
}

/// What a development chain may do to an account outside any transaction.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Balance(U256),
    Nonce(u64),
    Code(Bytecode),
    Storage(U256, U256),
}

/// The state as it is inside an open block. Cheap to clone; clones see the same changes.
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    base: StateView,
    changes: Arc<RwLock<Changes>>,
}

impl Overlay {
    /// An open block that has changed nothing yet.
    pub(crate) fn new(base: StateView) -> Self {
        Self { base, changes: Arc::default() }
    }

    /// A copy that later transactions do not change.
    pub(crate) fn frozen(&self) -> Self {
        let changes = Arc::new(RwLock::new(self.read().clone()));
        Self { base: self.base.clone(), changes }
    }

    /// Changes an account as no transaction could.
    pub(crate) fn edit(&self, address: Address, edit: Edit) {
        let mut changes = self.changes.write().unwrap_or_else(PoisonError::into_inner);
        let changed = changes.account(&self.base, address);
        match edit {
            Edit::Storage(slot, value) => drop(changed.storage.insert(slot, value)),
            Edit::Balance(balance) => changed.now.get_or_insert_default().balance = balance,
            Edit::Nonce(nonce) => changed.now.get_or_insert_default().nonce = nonce,
            Edit::Code(code) => drop(changed.now.get_or_insert_default().set_code(code)),
        }
        // An account with storage exists.
        changed.now.get_or_insert_default();
    }

    /// What the block did so far.
    pub(crate) fn diff(&self) -> StateDiff {
        self.read().diff(&self.base)
    }

    fn read(&self) -> RwLockReadGuard<'_, Changes> {
        self.changes.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DatabaseRef for Overlay {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        if let Some(changed) = self.read().accounts.get(&address) {
            return Ok(changed.now.clone());
        }
        self.base.basic_ref(address)
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, Infallible> {
        self.base.code_by_hash_ref(hash)
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        if let Some(changed) = self.read().accounts.get(&address) {
            if let Some(value) = changed.storage.get(&slot) {
                return Ok(*value);
            }
            if changed.storage_cleared {
                return Ok(U256::ZERO);
            }
        }
        self.base.storage_ref(address, slot)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        self.base.block_hash_ref(number)
    }
}

impl Database for Overlay {
    type Error = Infallible;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        self.basic_ref(address)
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Infallible> {
        self.code_by_hash_ref(hash)
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Infallible> {
        self.storage_ref(address, slot)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Infallible> {
        self.block_hash_ref(number)
    }
}

impl DatabaseCommit for Overlay {
    fn commit(&mut self, touched: AddressMap<Touched>) {
        self.changes.write().unwrap_or_else(PoisonError::into_inner).commit(&self.base, touched);
    }
}
