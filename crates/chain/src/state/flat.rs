//! A map that remembers what it held after each block of a window.
//!
//! The latest values lie in hash maps, spread over shards with a lock each, so that one reader costs
//! the others nothing. Beside them lies, for each key that changed within the window, what it held
//! before each change: a reader of block N takes the value before the first change after N, or the
//! latest one if there was none.
//!
//! **Invariant:** what a reader of block N sees does not change while later blocks are written, until
//! N is forgotten.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hash},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use foldhash::fast::RandomState;

/// Shards of a map. A power of two.
const SHARDS: usize = 64;

/// What a key held before a block changed it.
struct Past<V> {
    block: u64,
    value: Option<V>,
}

struct Shard<K, V> {
    latest: HashMap<K, V, RandomState>,
    /// By ascending block.
    past: HashMap<K, VecDeque<Past<V>>, RandomState>,
    /// The entries of `past`, oldest first.
    order: VecDeque<(u64, K)>,
    /// The last block that changed anything here.
    changed_at: u64,
}

/// A map with a history. Keys come from users, so each map hashes them with a secret seed.
pub(super) struct Flat<K, V> {
    shards: Box<[RwLock<Shard<K, V>>]>,
    hasher: RandomState,
}

impl<K: Copy + Eq + Hash, V: Clone> Flat<K, V> {
    pub(super) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::new(Shard::new())).collect();
        Self { shards, hasher: RandomState::default() }
    }

    /// The value after the last block that was written.
    pub(super) fn latest(&self, key: &K) -> Option<V> {
        self.read(self.shard(key)).latest.get(key).cloned()
    }

    /// The value after block `number`.
    pub(super) fn at(&self, key: &K, number: u64) -> Option<V> {
        let shard = self.read(self.shard(key));
        if shard.changed_at > number {
            return shard.at(key, number).cloned();
        }
        shard.latest.get(key).cloned()
    }

    /// Sets the value in the name of `block`, which is the last one or the next. Returns the value
    /// before, and whether that had to be remembered.
    pub(super) fn set(&self, key: K, value: Option<V>, block: u64) -> (Option<V>, bool) {
        let mut shard = self.write(self.shard(&key));
        let before = shard.replace(key, value);
        let remembered = shard.remember(key, before.clone(), block);
        (before, remembered)
    }

    /// Sets the value as if it had always been so.
    pub(super) fn load(&self, key: K, value: V) {
        self.write(self.shard(&key)).latest.insert(key, value);
    }

    /// Forgets what only blocks before `oldest` need.
    pub(super) fn forget_before(&self, oldest: u64) {
        for shard in 0..SHARDS {
            let stale =
                |shard: &Shard<K, V>| shard.order.front().is_some_and(|(b, _)| *b <= oldest);
            if stale(&self.read(shard)) {
                self.write(shard).forget_before(oldest);
            }
        }
    }

    /// Undoes what blocks after `number` changed.
    pub(super) fn rewind(&self, number: u64) {
        for shard in 0..SHARDS {
            self.write(shard).rewind(number);
        }
    }

    /// The keys that have a value after the last block, as far as `which` says yes. Reads everything.
    pub(super) fn keys(&self, which: impl Fn(&K) -> bool) -> Vec<K> {
        let mut keys = Vec::new();
        for shard in 0..SHARDS {
            keys.extend(self.read(shard).latest.keys().filter(|key| which(key)));
        }
        keys
    }

    /// Everything after block `number`, a part at a time, so that writers wait for a part only.
    pub(super) fn parts(&self, number: u64) -> impl Iterator<Item = Vec<(K, V)>> {
        (0..SHARDS).map(move |shard| {
            let shard = self.read(shard);
            let latest = shard.latest.keys();
            // What was removed since is in the past only.
            let removed = shard.past.keys().filter(|key| !shard.latest.contains_key(*key));
            latest
                .chain(removed)
                .filter_map(|key| Some((*key, shard.at(key, number)?.clone())))
                .collect()
        })
    }

    /// Entries of the history.
    #[cfg(test)]
    pub(super) fn past_entries(&self) -> usize {
        (0..SHARDS).map(|shard| self.read(shard).order.len()).sum()
    }

    fn shard(&self, key: &K) -> usize {
        // High bits: the maps inside hash with seeds of their own.
        usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or_default() % SHARDS
    }

    fn read(&self, shard: usize) -> RwLockReadGuard<'_, Shard<K, V>> {
        self.shards[shard].read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, shard: usize) -> RwLockWriteGuard<'_, Shard<K, V>> {
        self.shards[shard].write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash, V> Shard<K, V> {
    fn new() -> Self {
        Self {
            latest: HashMap::default(),
            past: HashMap::default(),
            order: VecDeque::new(),
            changed_at: 0,
        }
    }

    fn at(&self, key: &K, number: u64) -> Option<&V> {
        let change = self.past.get(key).and_then(|past| {
            // Readers are mostly close to the head.
            past.get(past.partition_point(|change| change.block <= number))
        });
        match change {
            Some(change) => change.value.as_ref(),
            None => self.latest.get(key),
        }
    }

    fn replace(&mut self, key: K, value: Option<V>) -> Option<V> {
        match value {
            Some(value) => self.latest.insert(key, value),
            None => self.latest.remove(&key),
        }
    }

    fn remember(&mut self, key: K, before: Option<V>, block: u64) -> bool {
        // Most keys change once in a window: no room for more than that at first.
        let past = self.past.entry(key).or_insert_with(|| VecDeque::with_capacity(1));
        if past.back().is_some_and(|change| change.block == block) {
            return false;
        }
        past.push_back(Past { block, value: before });
        self.order.push_back((block, key));
        self.changed_at = block;
        true
    }

    fn rewind(&mut self, number: u64) {
        // Newest first, so that what was there before the first of these changes is what stays.
        while let Some((_, key)) = self.order.pop_back_if(|(block, _)| *block > number) {
            let past = self.past.get_mut(&key).expect("what is in order is in the past");
            let change = past.pop_back().expect("what is in order is in the past");
            if past.is_empty() {
                self.past.remove(&key);
            }
            self.replace(key, change.value);
        }
        self.changed_at = self.order.back().map_or(0, |(block, _)| *block);
    }

    fn forget_before(&mut self, oldest: u64) {
        while let Some((_, key)) = self.order.pop_front_if(|(block, _)| *block <= oldest) {
            let past = self.past.get_mut(&key).expect("what is in order is in the past");
            past.pop_front();
            if past.is_empty() {
                self.past.remove(&key);
            }
        }
    }
}
