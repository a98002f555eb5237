//! Transactions that wait for a block.
//!
//! One queue per sender, in nonce order. A block takes the best-paying transaction among the heads
//! of the queues that can run now; of equal ones, that which came first.
//!
//! Pure: the caller hands over the sender's account and the rules; no clock, no disk.
//!
//! **Invariant:** the pool never holds more than [`POOL_TXS_MAX`] transactions and
//! [`POOL_BYTES_MAX`] bytes.

mod admission;
mod best;
mod error;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use alloy_consensus::Transaction;
use alloy_primitives::{Address, B256, Bytes, U256};

pub(crate) use admission::{Admission, check};
pub(crate) use best::Best;
pub(crate) use error::PoolError;

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

/// A transaction and when it came.
#[derive(Clone)]
struct Waiting {
    tx: Arc<SignedTx>,
    arrival: u64,
}

/// Transactions that wait for a block.
#[derive(Default)]
pub(crate) struct Pool {
    senders: HashMap<Address, BTreeMap<u64, Waiting>>,
    by_hash: HashMap<B256, Arc<SignedTx>>,
    bytes: usize,
    arrivals: u64,
}

impl Pool {
    /// Takes a transaction in.
    ///
    /// Errors: [`PoolError`], for every reason not to.
    pub(crate) fn add(
        &mut self,
        tx: Arc<SignedTx>,
        admission: &Admission<'_>,
    ) -> Result<(), PoolError> {
        let hash = tx.hash();
        if self.by_hash.contains_key(&hash) {
            return Err(PoolError::AlreadyKnown);
        }
        let cost = check(&tx, admission)?;
        let queue = self.senders.get(&tx.sender());
        let replaced = queue.and_then(|queue| queue.get(&tx.nonce()));
        if let Some(replaced) = replaced {
            if !outbids(&tx, &replaced.tx) {
                return Err(PoolError::ReplacementUnderpriced);
            }
        } else {
            if queue.is_some_and(|queue| queue.len() >= SENDER_TXS_MAX) {
                return Err(PoolError::SenderFull);
            }
            if self.by_hash.len() >= POOL_TXS_MAX {
                return Err(PoolError::Full);
            }
        }
        let freed = replaced.map_or(0, |replaced| replaced.tx.encoded.len());
        if self.bytes - freed + tx.encoded.len() > POOL_BYTES_MAX {
            return Err(PoolError::Full);
        }
        // What is waiting before this one is paid for first.
        let queued = queue
            .into_iter()
            .flat_map(|queue| queue.range(admission.nonce..tx.nonce()))
            .fold(U256::ZERO, |sum, (_, waiting)| sum.saturating_add(waiting.tx.cost_max()));
        if admission.balance < cost.saturating_add(queued) {
            let balance = admission.balance;
            return Err(PoolError::InsufficientFunds { balance, cost, queued });
        }

        self.bytes += tx.encoded.len();
        self.arrivals += 1;
        self.by_hash.insert(hash, Arc::clone(&tx));
        let waiting = Waiting { tx: Arc::clone(&tx), arrival: self.arrivals };
        let queue = self.senders.entry(tx.sender()).or_default();
        if let Some(replaced) = queue.insert(tx.nonce(), waiting) {
            self.forget(&replaced.tx);
        }
        Ok(())
    }

    /// The transaction with this hash.
    pub(crate) fn get(&self, hash: B256) -> Option<Arc<SignedTx>> {
        self.by_hash.get(&hash).cloned()
    }

    /// The nonce that the sender's next transaction needs, given the nonce of its account.
    pub(crate) fn next_nonce(&self, sender: Address, account_nonce: u64) -> u64 {
        let Some(queue) = self.senders.get(&sender) else { return account_nonce };
        let run = queue.range(account_nonce..).zip(account_nonce..);
        let run = run.take_while(|((nonce, _), expected)| **nonce == *expected);
        account_nonce + run.count() as u64
    }

    /// Removes one transaction.
    pub(crate) fn remove(&mut self, tx: &SignedTx) {
        if let Some(queue) = self.senders.get_mut(&tx.sender()) {
            if queue.get(&tx.nonce()).is_some_and(|waiting| waiting.tx.hash() == tx.hash()) {
                queue.remove(&tx.nonce());
                self.forget(tx);
            }
            if self.senders.get(&tx.sender()).is_some_and(BTreeMap::is_empty) {
                self.senders.remove(&tx.sender());
            }
        }
    }

    /// Removes a sender's transactions below `nonce`: they are in the chain, or never can be.
    pub(crate) fn remove_below(&mut self, sender: Address, nonce: u64) {
        let Some(queue) = self.senders.get_mut(&sender) else { return };
        let kept = queue.split_off(&nonce);
        let removed = std::mem::replace(queue, kept);
        if queue.is_empty() {
            self.senders.remove(&sender);
        }
        for waiting in removed.values() {
            self.forget(&waiting.tx);
        }
    }

    /// Transactions that can run now, best first, for a block with `base_fee`. `account_nonce` gives
    /// the nonce that each account has before the block.
    pub(crate) fn best(&self, base_fee: u64, account_nonce: impl Fn(Address) -> u64) -> Best {
        Best::new(&self.senders, base_fee, account_nonce)
    }

    /// Encoded bytes of every waiting transaction, in the order in which they came.
    pub(crate) fn encoded(&self) -> Vec<Bytes> {
        let mut waiting: Vec<&Waiting> = self.senders.values().flat_map(BTreeMap::values).collect();
        waiting.sort_unstable_by_key(|waiting| waiting.arrival);
        waiting.into_iter().map(|waiting| waiting.tx.encoded.clone()).collect()
    }

    /// Every sender's transactions in nonce order; those of one sender only if `only` is given.
    pub(crate) fn waiting(&self, only: Option<Address>) -> Vec<(Address, Vec<Arc<SignedTx>>)> {
        let wanted = self.senders.iter().filter(|(sender, _)| only.is_none_or(|s| s == **sender));
        let txs = |queue: &BTreeMap<u64, Waiting>| {
            queue.values().map(|waiting| Arc::clone(&waiting.tx)).collect()
        };
        wanted.map(|(sender, queue)| (*sender, txs(queue))).collect()
    }

    /// How many transactions can run now and how many wait for an earlier nonce.
    pub(crate) fn status(&self, account_nonce: impl Fn(Address) -> u64) -> (usize, usize) {
        let pending = self.senders.keys().map(|sender| {
            let nonce = account_nonce(*sender);
            usize::try_from(self.next_nonce(*sender, nonce) - nonce).unwrap_or(usize::MAX)
        });
        let pending = pending.sum::<usize>().min(self.by_hash.len());
        (pending, self.by_hash.len() - pending)
    }

    fn forget(&mut self, tx: &SignedTx) {
        self.by_hash.remove(&tx.hash());
        self.bytes -= tx.encoded.len();
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
