//! What readers and the EVM see: the state after one block, and the hashes of the blocks before it.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use alloy_primitives::{Address, B256, Bytes, U256};
use revm::{DatabaseRef, bytecode::Bytecode, state::AccountInfo};

use super::{Account, StateDiff, World};

/// Hashes of recent blocks by number: those that `BLOCKHASH` can ask for in the oldest state that is
/// kept, and later ones.
pub(super) struct BlockHashes {
    kept: usize,
    hashes: RwLock<Recent>,
}

#[derive(Default)]
struct Recent {
    first: u64,
    hashes: VecDeque<B256>,
}

impl BlockHashes {
    pub(super) fn keeping(kept: usize) -> Self {
        Self { kept, hashes: RwLock::default() }
    }

    fn get(&self, number: u64) -> Option<B256> {
        let recent = self.hashes.read().unwrap_or_else(PoisonError::into_inner);
        let index = usize::try_from(number.checked_sub(recent.first)?).ok()?;
        recent.hashes.get(index).copied()
    }

    /// Records the hash of block `number`, forgetting any that were recorded for it and after it.
    pub(super) fn set(&self, number: u64, hash: B256) {
        let mut recent = self.hashes.write().unwrap_or_else(PoisonError::into_inner);
        let before = number.checked_sub(recent.first).and_then(|n| usize::try_from(n).ok());
        match before {
            Some(before) if before <= recent.hashes.len() => recent.hashes.truncate(before),
            _ => *recent = Recent { first: number, hashes: VecDeque::new() },
        }
        recent.hashes.push_back(hash);
        if recent.hashes.len() > self.kept {
            recent.hashes.pop_front();
            recent.first += 1;
        }
    }
}

/// The state after one block. Cheap to clone; it stays as it is while the chain goes on.
#[derive(Clone)]
pub(crate) struct StateView {
    reader: Arc<Reader>,
}

/// Keeps a block readable.
struct Reader {
    world: Arc<World>,
    number: u64,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.world.window().leave(self.number);
    }
}

impl StateView {
    /// A view of a block that the window has let in a reader for.
    pub(super) fn new(world: Arc<World>, number: u64) -> Self {
        Self { reader: Arc::new(Reader { world, number }) }
    }

    /// The account at `address`, if it exists.
    pub(crate) fn account(&self, address: Address) -> Option<Account> {
        self.reader.world.accounts.at(&address, self.reader.number)
    }

    /// The value of a storage slot.
    pub(crate) fn storage(&self, address: Address, slot: U256) -> U256 {
        self.reader.world.slots.at(&(address, slot), self.reader.number).unwrap_or_default()
    }

    /// Storage root of `address`.
    pub(crate) fn storage_root(&self, address: Address) -> B256 {
        self.reader.world.tries().storage_root(self.reader.number, &World::key(address))
    }

    /// The root that the block's header commits to.
    pub(crate) fn root(&self) -> B256 {
        self.reader.world.tries().root(self.reader.number)
    }

    /// The state root, and the storage root of `account`, that `changes` would make.
    pub(crate) fn roots_with(&self, changes: &StateDiff, account: Address) -> (B256, B256) {
        self.reader.world.roots_with(self.reader.number, changes, account)
    }

    /// Encoded trie nodes from the root towards `address`.
    pub(crate) fn proof(&self, address: Address) -> Vec<Bytes> {
        self.reader.world.tries().proof(self.reader.number, &World::key(address))
    }

    /// Encoded trie nodes from the storage root of `address` towards `slot`.
    pub(crate) fn storage_proof(&self, address: Address, slot: U256) -> Vec<Bytes> {
        let (account, slot) = (World::key(address), World::slot_key(slot));
        self.reader.world.tries().storage_proof(self.reader.number, &account, &slot)
    }

    /// Every account, a part at a time.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = Vec<(Address, Account)>> {
        self.reader.world.accounts.parts(self.reader.number)
    }

    /// Every slot that is not zero, a part at a time.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Vec<((Address, U256), U256)>> {
        self.reader.world.slots.parts(self.reader.number)
    }
}

impl fmt::Debug for StateView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateView").field("number", &self.reader.number).finish_non_exhaustive()
    }
}

impl DatabaseRef for StateView {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.account(address).map(Account::info))
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.reader.world.codes.get(&hash).unwrap_or_default())
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        Ok(self.storage(address, slot))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok(self.reader.world.hashes.get(number).unwrap_or_default())
    }
}
