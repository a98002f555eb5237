//! Transactions that wait for a block.
//!
//! One queue per sender, in nonce order. The block that is being made takes the best-paying
//! transaction among those that can run now; of equal ones, that which came first.
//!
//! Pure: the caller hands over the sender's account and the rules; no clock, no disk.
//!
//! **Invariant:** the pool never holds more than [`POOL_TXS_MAX`] transactions and
//! [`POOL_BYTES_MAX`] bytes.
//! **Invariant:** a transaction that was taken in stays until it is in a durable block, cannot run any
//! more, or is pushed out by one that pays more.

mod admission;
mod error;
mod queue;
#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, hash_map::Entry},
    sync::Arc,
};

use alloy_consensus::Transaction;
use alloy_primitives::{
    Address, B256, Bytes,
    map::{AddressMap, B256Map},
};

pub(crate) use admission::{Admission, Sender, check};
pub(crate) use error::PoolError;
use queue::{Queue, Waiting};

use crate::transaction::SignedTx;

/// Transactions in the pool.
pub(crate) const POOL_TXS_MAX: usize = 65_536;
/// Encoded bytes in the pool.
pub(crate) const POOL_BYTES_MAX: usize = 128 << 20;
/// Transactions of one sender.
pub(crate) const SENDER_TXS_MAX: usize = 4_096;
/// Nonces that may be missing before a transaction.
pub(crate) const NONCE_GAP_MAX: u64 = 1_024;
/// By how much a replacement must pay more, in tip and in fee cap.
pub(crate) const REPLACEMENT_BUMP_PERCENT: u128 = 10;
/// Transactions that are pushed out together when the pool is full, so that looking for the cheapest
/// is rare.
const EVICTED_AT_ONCE: usize = POOL_TXS_MAX / 64;

/// A transaction that can run now: best tip first, then earliest arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Ready {
    tip: u128,
    arrival: Reverse<u64>,
    sender: Address,
}

/// Transactions that wait for a block.
#[derive(Default)]
pub(crate) struct Pool {
    senders: AddressMap<Queue>,
    by_hash: B256Map<Arc<SignedTx>>,
    /// May hold entries that are no longer true; each is checked when its turn comes.
    ready: BinaryHeap<Ready>,
    base_fee: u64,
    bytes: usize,
    arrivals: u64,
    /// While the pool is full: nothing that pays this tip or less can push anything out.
    floor: Option<u128>,
}

/// How many transactions can run one after another, and how many wait for an earlier nonce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) pending: usize,
    pub(crate) queued: usize,
}

/// One sender's transactions.
pub(crate) struct SenderContent {
    pub(crate) sender: Address,
    pub(crate) pending: Vec<Arc<SignedTx>>,
    pub(crate) queued: Vec<Arc<SignedTx>>,
}

impl Pool {
    /// Takes a transaction in that can cost its sender at most `cost` (see [`check`]). It is held back
    /// until [`release`](Self::release). `account` is asked for the sender's account in the block that
    /// is being made.
    ///
    /// Errors: [`PoolError`], for every reason not to.
    pub(crate) fn add(
        &mut self,
        tx: Arc<SignedTx>,
        cost: alloy_primitives::U256,
        account: impl FnOnce(Address) -> Sender,
    ) -> Result<(), PoolError> {
        let (hash, sender, nonce) = (tx.hash(), tx.sender(), tx.nonce());
        if self.by_hash.contains_key(&hash) {
            return Err(PoolError::AlreadyKnown);
        }
        let account = account(sender);
        if account.is_contract {
            return Err(PoolError::SenderIsContract(sender));
        }
        let queue = self.senders.get(&sender);
        let next = queue.map_or(account.nonce, |queue| queue.next);
        if nonce < next {
            return Err(PoolError::NonceTooLow { nonce, next });
        }
        if nonce - next > NONCE_GAP_MAX + SENDER_TXS_MAX as u64 {
            return Err(PoolError::NonceTooHigh { nonce, next });
        }
        let replaced = queue.and_then(|queue| queue.waiting.get(&nonce));
        if let Some(replaced) = replaced {
            if !outbids(&tx, &replaced.tx) {
                return Err(PoolError::ReplacementUnderpriced);
            }
        } else if queue.is_some_and(|queue| queue.waiting.len() >= SENDER_TXS_MAX) {
            return Err(PoolError::SenderFull);
        }
        // What else is waiting may all be executed.
        let (queued, freed) = (queue.map(|queue| queue.cost), replaced.map(|old| old.cost));
        let queued = queued.unwrap_or_default().saturating_sub(freed.unwrap_or_default());
        if account.balance < cost.saturating_add(queued) {
            let balance = account.balance;
            return Err(PoolError::InsufficientFunds { balance, cost, queued });
        }
        let freed = replaced.map(|replaced| replaced.tx.encoded.len());
        let (more_txs, more_bytes) =
            (usize::from(freed.is_none()), tx.encoded.len().saturating_sub(freed.unwrap_or(0)));
        self.make_room(more_txs, more_bytes, &tx)?;

        self.bytes += tx.encoded.len();
        self.arrivals += 1;
        self.by_hash.insert(hash, Arc::clone(&tx));
        let waiting = Waiting { tx, arrival: self.arrivals, cost, held: true };
        let queue = self.senders.entry(sender).or_insert_with(|| Queue::new(next));
        let replaced = queue.insert(waiting);
        if let Some(replaced) = replaced {
            self.forget(&replaced.tx);
        }
        Ok(())
    }

    /// Lets a transaction run that was taken in: it is in the journal now.
    pub(crate) fn release(&mut self, tx: &SignedTx) {
        let Some(queue) = self.senders.get_mut(&tx.sender()) else { return };
        // Another one may have taken its place meanwhile.
        let waiting = queue.waiting.get_mut(&tx.nonce());
        if let Some(waiting) = waiting.filter(|waiting| waiting.tx.hash() == tx.hash()) {
            waiting.held = false;
            if queue.next == tx.nonce() {
                self.offer(tx.sender());
            }
        }
    }

    /// A block begins: everything that can run and pays `base_fee` is on offer again.
    pub(crate) fn begin_block(&mut self, base_fee: u64) {
        self.base_fee = base_fee;
        self.ready.clear();
        let ready = self.senders.iter().filter_map(|(sender, queue)| {
            let next = queue.runnable()?;
            let tip = next.tx.tx.effective_tip_per_gas(base_fee)?;
            Some(Ready { tip, arrival: Reverse(next.arrival), sender: *sender })
        });
        self.ready = ready.collect();
    }

    /// Hands out the best transactions that can run now, at most `max`, in the order in which they
    /// are to run. Each is followed by [`give_back`](Self::give_back), [`drop_invalid`](Self::drop_invalid)
    /// or, when its block is durable, [`sealed`](Self::sealed).
    pub(crate) fn take(&mut self, max: usize) -> Vec<Arc<SignedTx>> {
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some(best) = self.ready.pop() else { break };
            let Some(queue) = self.senders.get_mut(&best.sender) else { continue };
            if queue.runnable().is_none_or(|next| Reverse(next.arrival) != best.arrival) {
                continue;
            }
            taken.extend(queue.take());
            self.offer(best.sender);
        }
        taken
    }

    /// Takes back a transaction that did not fit. It is on offer again when the next block begins.
    pub(crate) fn give_back(&mut self, tx: &SignedTx) {
        if let Some(queue) = self.senders.get_mut(&tx.sender()) {
            queue.give_back(tx.nonce());
        }
    }

    /// Drops a transaction that was taken and cannot be executed. `account_nonce` is what its sender's
    /// next one needs: another's transaction may have raised it (EIP-7702).
    pub(crate) fn drop_invalid(&mut self, tx: &SignedTx, account_nonce: u64) {
        self.give_back(tx);
        if let Some(queue) = self.senders.get_mut(&tx.sender()) {
            queue.next = account_nonce;
        }
        self.remove(tx);
        self.offer(tx.sender());
    }

    /// The transactions of a block that is durable now.
    pub(crate) fn sealed<'a>(&mut self, txs: impl Iterator<Item = (Address, u64)> + 'a) {
        for (sender, nonce) in txs {
            let Entry::Occupied(mut entry) = self.senders.entry(sender) else { continue };
            let queue = entry.get_mut();
            let taken = queue.taken.remove(&nonce);
            if queue.is_empty() {
                entry.remove();
            }
            if let Some(taken) = taken {
                self.forget(&taken.tx);
            }
        }
    }

    /// Removes a waiting transaction.
    pub(crate) fn remove(&mut self, tx: &SignedTx) {
        let Entry::Occupied(mut entry) = self.senders.entry(tx.sender()) else { return };
        let queue = entry.get_mut();
        if queue.waiting.get(&tx.nonce()).is_none_or(|waiting| waiting.tx.hash() != tx.hash()) {
            return;
        }
        queue.remove(tx.nonce());
        if queue.is_empty() {
            entry.remove();
        }
        self.forget(tx);
    }

    /// The transaction with this hash.
    pub(crate) fn get(&self, hash: B256) -> Option<Arc<SignedTx>> {
        self.by_hash.get(&hash).cloned()
    }

    /// The nonce that the sender's next transaction needs, given the nonce of its account.
    pub(crate) fn next_nonce(&self, sender: Address, account_nonce: u64) -> u64 {
        self.senders
            .get(&sender)
            .map_or(account_nonce, |queue| queue.next + queue.run().count() as u64)
    }

    /// Encoded bytes of every transaction, in the order in which they came.
    pub(crate) fn encoded(&self) -> Vec<Bytes> {
        let queues = self.senders.values();
        let all = queues.flat_map(|queue| queue.taken.values().chain(queue.waiting.values()));
        let mut all: Vec<&Waiting> = all.collect();
        all.sort_unstable_by_key(|waiting| waiting.arrival);
        all.into_iter().map(|waiting| waiting.tx.encoded.clone()).collect()
    }

    /// Transactions that can run one after another and those that wait for an earlier nonce, by sender
    /// and in nonce order; those of one sender only if `only` is given.
    pub(crate) fn content(&self, only: Option<Address>) -> Vec<SenderContent> {
        let wanted = self.senders.iter().filter(|(sender, _)| only.is_none_or(|s| s == **sender));
        let content = wanted.map(|(sender, queue)| {
            let tx = |waiting: &Waiting| Arc::clone(&waiting.tx);
            let pending: Vec<_> = queue.taken.values().chain(queue.run()).map(tx).collect();
            let queued = queue.waiting.values().skip(queue.run().count()).map(tx).collect();
            SenderContent { sender: *sender, pending, queued }
        });
        content.collect()
    }

    /// Transactions by what they wait for.
    pub(crate) fn counts(&self) -> Counts {
        let pending: usize =
            self.senders.values().map(|queue| queue.taken.len() + queue.run().count()).sum();
        Counts { pending, queued: self.by_hash.len() - pending }
    }

    /// Encoded bytes in the pool.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts the sender's next transaction on offer, if it can run and pays the base fee.
    fn offer(&mut self, sender: Address) {
        let Some(next) = self.senders.get(&sender).and_then(Queue::runnable) else { return };
        if let Some(tip) = next.tx.tx.effective_tip_per_gas(self.base_fee) {
            self.ready.push(Ready { tip, arrival: Reverse(next.arrival), sender });
        }
    }

    /// Pushes out what pays less than `tx`, if there is no room for it otherwise.
    fn make_room(&mut self, txs: usize, bytes: usize, tx: &SignedTx) -> Result<(), PoolError> {
        let fits = |pool: &Self| {
            pool.by_hash.len() + txs <= POOL_TXS_MAX && pool.bytes + bytes <= POOL_BYTES_MAX
        };
        if fits(self) {
            return Ok(());
        }
        let tip = tx.tx.priority_fee_or_price();
        if self.floor.is_some_and(|floor| tip <= floor) {
            return Err(PoolError::Full);
        }
        // The last of each sender: taking it leaves no gap. The newcomer's own are left alone.
        let mut last: Vec<(u128, Reverse<u64>, Arc<SignedTx>)> = self
            .senders
            .iter()
            .filter(|(sender, _)| **sender != tx.sender())
            .filter_map(|(_, queue)| queue.waiting.values().next_back())
            .map(|last| {
                let tip = last.tx.tx.priority_fee_or_price();
                (tip, Reverse(last.arrival), Arc::clone(&last.tx))
            })
            .collect();
        last.sort_unstable_by_key(|(tip, arrival, _)| (*tip, *arrival));
        let floor = last.first().map_or(u128::MAX, |(tip, ..)| *tip);
        for (_, _, cheap) in last.iter().take_while(|(low, ..)| *low < tip).take(EVICTED_AT_ONCE) {
            self.remove(cheap);
        }
        if fits(self) {
            return Ok(());
        }
        self.floor = Some(floor);
        Err(PoolError::Full)
    }

    fn forget(&mut self, tx: &SignedTx) {
        self.by_hash.remove(&tx.hash());
        self.bytes -= tx.encoded.len();
        self.floor = None;
    }
}

/// Whether `new` pays enough more than `old` to take its place.
fn outbids(new: &SignedTx, old: &SignedTx) -> bool {
    let enough = |new: u128, old: u128| {
        let bump = old.saturating_mul(REPLACEMENT_BUMP_PERCENT).div_ceil(100).max(1);
        new >= old.saturating_add(bump)
    };
    enough(new.tx.max_fee_per_gas(), old.tx.max_fee_per_gas())
        && enough(new.tx.priority_fee_or_price(), old.tx.priority_fee_or_price())
}
