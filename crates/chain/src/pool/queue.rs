//! The transactions of one sender, in nonce order.

use std::{collections::BTreeMap, sync::Arc};

use alloy_primitives::U256;

use crate::transaction::SignedTx;

/// A transaction and when it came.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) tx: Arc<SignedTx>,
    pub(super) arrival: u64,
    /// The most that it can cost, with L1 and operator fees.
    pub(super) cost: U256,
    /// Not in the journal yet, so it may not be executed.
    pub(super) held: bool,
}

/// The transactions of one sender.
///
/// ```text
/// nonce:   … sealed │ taken (in the open block) │ waiting, runnable │ gap │ waiting
///                                               └ next
/// ```
#[derive(Debug)]
pub(super) struct Queue {
    /// The nonce that the next transaction into a block must have.
    pub(super) next: u64,
    /// By nonce, from `next` on.
    pub(super) waiting: BTreeMap<u64, Waiting>,
    /// Handed to the block that is being made, and not known to be in a durable one.
    pub(super) taken: BTreeMap<u64, Waiting>,
    /// What all of `waiting` can cost.
    pub(super) cost: U256,
}

impl Queue {
    pub(super) fn new(next: u64) -> Self {
        Self { next, waiting: BTreeMap::new(), taken: BTreeMap::new(), cost: U256::ZERO }
    }

    /// Puts a transaction among the waiting; returns the one that it replaces.
    pub(super) fn insert(&mut self, waiting: Waiting) -> Option<Waiting> {
        self.cost = self.cost.saturating_add(waiting.cost);
        let replaced = self.waiting.insert(waiting.tx.nonce(), waiting);
        self.forget(replaced)
    }

    /// Takes the waiting transaction with this nonce out.
    pub(super) fn remove(&mut self, nonce: u64) -> Option<Waiting> {
        let removed = self.waiting.remove(&nonce);
        self.forget(removed)
    }

    fn forget(&mut self, gone: Option<Waiting>) -> Option<Waiting> {
        if let Some(gone) = &gone {
            self.cost = self.cost.saturating_sub(gone.cost);
        }
        gone
    }

    /// The transaction that can run now, if there is one.
    pub(super) fn runnable(&self) -> Option<&Waiting> {
        self.waiting.get(&self.next).filter(|waiting| !waiting.held)
    }

    /// Those that can run one after another, from `next` on.
    pub(super) fn run(&self) -> impl Iterator<Item = &Waiting> {
        let run = self.waiting.range(self.next..).zip(self.next..);
        run.take_while(|((nonce, _), expected)| **nonce == *expected).map(|((_, tx), _)| tx)
    }

    /// Hands out the runnable transaction.
    pub(super) fn take(&mut self) -> Option<Arc<SignedTx>> {
        self.runnable()?;
        let waiting = self.remove(self.next)?;
        self.next += 1;
        let tx = Arc::clone(&waiting.tx);
        self.taken.insert(tx.nonce(), waiting);
        Some(tx)
    }

    /// Takes back a transaction that [`take`](Self::take) handed out, to wait for another block.
    pub(super) fn give_back(&mut self, nonce: u64) {
        if let Some(waiting) = self.taken.remove(&nonce) {
            self.next = self.next.min(nonce);
            self.insert(waiting);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.taken.is_empty()
    }
}
