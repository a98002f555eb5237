//! The state of the chain: written by one thread, block after block, and read by everybody.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use alloy_primitives::{Address, B256, U256, keccak256};
use revm::bytecode::Bytecode;

use super::{
    Account, HistoryLimits, NoState, StateDiff, StateView,
    code::Codes,
    diff::{AccountDiff, SlotDiff},
    flat::Flat,
    view::BlockHashes,
    window::Window,
};
use crate::trie::{AccountChange, AccountSet, NODE_BYTES, Tries};

/// What an entry of the history takes with its places in two maps and a queue, by estimate.
const ACCOUNT_CHANGE_BYTES: usize =
    2 * (mem::size_of::<Address>() + mem::size_of::<Account>()) + 64;
const SLOT_CHANGE_BYTES: usize = 2 * mem::size_of::<((Address, U256), U256)>() + 64;
/// `BLOCKHASH` reaches this far back from the block that asks.
const BLOCKHASH_REACH: usize = 256;
/// Blocks that may be built beyond the latest one that is announced.
const BLOCKS_AHEAD_MAX: usize = 1024;
/// A block that changes fewer accounts is not worth waking another thread.
const PARALLEL_ACCOUNTS_MIN: usize = 64;

/// The world state of the chain: latest values in flat maps, the values of a retained window of past
/// blocks beside them, and the Merkle-Patricia tries over the same blocks.
pub(crate) struct World {
    pub(super) accounts: Flat<Address, Account>,
    /// Slots that are not zero.
    pub(super) slots: Flat<(Address, U256), U256>,
    pub(super) codes: Codes,
    pub(super) hashes: BlockHashes,
    tries: RwLock<Tries>,
    window: Mutex<Window>,
    /// Held while a block is written.
    writing: Mutex<()>,
}

/// New code of an account: its hash and, unless it is empty, the code.
type NewCode = Option<(B256, Option<Bytecode>)>;

impl World {
    /// An empty state that is to become that after block `number`.
    pub(super) fn empty(number: u64, limits: HistoryLimits) -> Self {
        let kept = usize::try_from(limits.blocks).unwrap_or(usize::MAX);
        Self {
            accounts: Flat::new(),
            slots: Flat::new(),
            codes: Codes::default(),
            hashes: BlockHashes::keeping(kept.saturating_add(BLOCKHASH_REACH + BLOCKS_AHEAD_MAX)),
            tries: RwLock::new(Tries::empty(number)),
            window: Mutex::new(Window::new(number, limits)),
            writing: Mutex::new(()),
        }
    }

    /// Makes the changes of block `number`, which is the next one, and returns the state root after
    /// it.
    pub(crate) fn apply(&self, number: u64, diff: &StateDiff) -> B256 {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(number, self.window().head() + 1, "blocks are applied in order");
        let codes: Vec<NewCode> =
            diff.accounts.iter().map(|a| a.code.first().map(|code| self.codes.add(code))).collect();
        let flat = || -> usize {
            let changes = diff.accounts.iter().zip(&codes);
            changes.map(|(change, code)| self.change_account(number, change, code)).sum()
        };
        let tries = || {
            let changes = diff.accounts.iter().zip(&codes);
            let changes = changes.map(|(change, code)| trie_change(change, code)).collect();
            self.tries_mut().apply(changes)
        };
        let (bytes, (root, superseded)) = if diff.accounts.len() < PARALLEL_ACCOUNTS_MIN {
            (flat(), tries())
        } else {
            rayon::join(flat, tries)
        };
        // Only now, so that nobody reads a block that is half there.
        let oldest = self.window().advance((bytes + superseded * NODE_BYTES) as u64);
        self.accounts.forget_before(oldest);
        self.slots.forget_before(oldest);
        self.tries_mut().forget_before(oldest);
        root
    }

    /// The roots that `changes` would make of the state after block `number`, which a view keeps in the
    /// window: the state's, and that of the storage of `account`.
    pub(super) fn roots_with(
        &self,
        number: u64,
        changes: &StateDiff,
        account: Address,
    ) -> (B256, B256) {
        let changes = changes.accounts.iter().map(|change| {
            let code = change.code.first().map(|code| (keccak256(code), None));
            trie_change(change, &code)
        });
        self.tries_mut().roots_with(number, changes.collect(), &Self::key(account))
    }

    /// The oldest block whose state can be asked for.
    pub(crate) fn oldest(&self) -> u64 {
        self.window().oldest()
    }

    /// How many past blocks are kept at most, beside the latest.
    pub(crate) fn blocks_max(&self) -> u64 {
        self.window().blocks_max()
    }

    /// Undoes the blocks after `number`. Who reads one of them sees a state that is no block's, so this
    /// is for a chain that nobody else builds on.
    ///
    /// Errors: [`NoState`] if the state of block `number` is not there.
    pub(crate) fn rewind(&self, number: u64) -> Result<(), NoState> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut window = self.window();
        // A reader that is let in is one that the block is there for.
        window.enter(number)?;
        window.leave(number);
        window.rewind(number);
        drop(window);
        self.accounts.rewind(number);
        self.slots.rewind(number);
        self.tries_mut().rewind(number);
        Ok(())
    }

    /// Makes a block's hash readable to the EVM.
    pub(crate) fn record_hash(&self, number: u64, hash: B256) {
        self.hashes.set(number, hash);
    }

    /// The last block that was applied.
    pub(crate) fn head(&self) -> u64 {
        self.window().head()
    }

    /// The state after block `number`.
    pub(crate) fn view(self: &Arc<Self>, number: u64) -> Result<StateView, NoState> {
        self.window().enter(number)?;
        Ok(StateView::new(Arc::clone(self), number))
    }

    /// The state after the last block that was applied.
    pub(crate) fn latest(self: &Arc<Self>) -> StateView {
        let mut window = self.window();
        let head = window.head();
        window.enter(head).expect("the latest block is always in the window");
        StateView::new(Arc::clone(self), head)
    }

    /// Changes one account and its storage; returns the bytes that this takes in the history.
    fn change_account(&self, number: u64, change: &AccountDiff, code: &NewCode) -> usize {
        let before = self.accounts.latest(&change.address);
        let mut bytes = 0;
        let mut account = before.unwrap_or_else(Account::new);
        // A contract can only destroy itself in the transaction that made it (EIP-6780), so hardly
        // ever is there anything to look for.
        if (change.deleted || change.storage_cleared) && account.slots > 0 {
            for key in self.slots.keys(|(address, _)| *address == change.address) {
                bytes += slot_bytes(self.slots.set(key, None, number).1);
            }
            account.slots = 0;
        }
        if change.deleted {
            return bytes + account_bytes(self.accounts.set(change.address, None, number).1);
        }
        (account.nonce, account.balance) = (change.nonce, change.balance);
        if let Some((hash, code)) = code {
            (account.code_hash, account.code) = (*hash, code.clone());
        }
        for SlotDiff { slot, value } in &change.storage {
            let value = (!value.is_zero()).then_some(*value);
            let (before, remembered) = self.slots.set((change.address, *slot), value, number);
            account.slots += u64::from(value.is_some());
            account.slots -= u64::from(before.is_some());
            bytes += slot_bytes(remembered);
        }
        bytes + account_bytes(self.accounts.set(change.address, Some(account), number).1)
    }

    /// Key of an account in its trie.
    pub(super) fn key(address: Address) -> B256 {
        keccak256(address)
    }

    /// Key of a slot in its trie.
    pub(super) fn slot_key(slot: U256) -> B256 {
        keccak256(slot.to_be_bytes::<32>())
    }

    /// Nodes of the tries that are not free.
    #[cfg(test)]
    pub(super) fn nodes_in_use(&self) -> usize {
        self.tries().nodes_in_use()
    }

    pub(super) fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tries(&self) -> RwLockReadGuard<'_, Tries> {
        self.tries.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tries_mut(&self) -> RwLockWriteGuard<'_, Tries> {
        self.tries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn account_bytes(remembered: bool) -> usize {
    usize::from(remembered) * ACCOUNT_CHANGE_BYTES
}

fn slot_bytes(remembered: bool) -> usize {
    usize::from(remembered) * SLOT_CHANGE_BYTES
}

fn trie_change(change: &AccountDiff, code: &NewCode) -> AccountChange {
    let set = (!change.deleted).then(|| AccountSet {
        nonce: change.nonce,
        balance: change.balance,
        code_hash: code.as_ref().map(|(hash, _)| *hash),
        storage_cleared: change.storage_cleared,
        slots: change.storage.iter().map(|s| (World::slot_key(s.slot), s.value)).collect(),
    });
    AccountChange { key: World::key(change.address), set }
}
