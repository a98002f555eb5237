//! The order in which a block takes transactions.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    sync::Arc,
};

use alloy_consensus::Transaction;
use alloy_primitives::Address;

use super::Waiting;
use crate::{execution::CandidateTxs, transaction::SignedTx};

/// Transactions that can run now, best first. A copy: the pool may change meanwhile.
pub(crate) struct Best {
    /// What is left of each sender's run, the next one last.
    runs: HashMap<Address, Vec<Waiting>>,
    heads: BinaryHeap<Head>,
    base_fee: u64,
    current: Option<Arc<SignedTx>>,
    /// Transactions that can no longer be executed, and why.
    pub(crate) invalid: Vec<(Arc<SignedTx>, String)>,
}

/// The next transaction of one sender: best tip first, then earliest arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    tip: u128,
    arrival: Reverse<u64>,
    sender: Address,
}

impl Best {
    pub(super) fn new(
        senders: &HashMap<Address, BTreeMap<u64, Waiting>>,
        base_fee: u64,
        account_nonce: impl Fn(Address) -> u64,
    ) -> Self {
        let mut best = Self {
            runs: HashMap::with_capacity(senders.len()),
            heads: BinaryHeap::with_capacity(senders.len()),
            base_fee,
            current: None,
            invalid: Vec::new(),
        };
        for (sender, queue) in senders {
            let nonce = account_nonce(*sender);
            let run = queue.range(nonce..).zip(nonce..);
            let mut run: Vec<Waiting> = run
                .take_while(|((nonce, _), expected)| **nonce == *expected)
                .map(|((_, waiting), _)| waiting.clone())
                .collect();
            run.reverse();
            best.runs.insert(*sender, run);
            best.offer(*sender);
        }
        best
    }

    /// Puts the sender's next transaction among the heads, if it pays the base fee.
    fn offer(&mut self, sender: Address) {
        let Some(next) = self.runs.get(&sender).and_then(|run| run.last()) else { return };
        if let Some(tip) = next.tx.tx.effective_tip_per_gas(self.base_fee) {
            self.heads.push(Head { tip, arrival: Reverse(next.arrival), sender });
        }
    }
}

impl CandidateTxs for Best {
    fn next(&mut self) -> Option<Arc<SignedTx>> {
        let head = self.heads.pop()?;
        let next = self.runs.get_mut(&head.sender)?.pop()?;
        self.current = Some(Arc::clone(&next.tx));
        Some(next.tx)
    }

    fn included(&mut self) {
        if let Some(tx) = self.current.take() {
            self.offer(tx.sender());
        }
    }

    fn postponed(&mut self) {
        self.current = None;
    }

    fn invalid(&mut self, reason: String) {
        if let Some(tx) = self.current.take() {
            self.invalid.push((tx, reason));
        }
    }
}
