use alloy_consensus::{SignableTransaction, TxEip1559, transaction::Recovered};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Signature, TxKind, U256};
use op_alloy_consensus::OpTxEnvelope;
use proptest::prelude::*;

use super::*;

const RICH: Sender = Sender { nonce: 0, balance: U256::MAX, is_contract: false };

/// A transaction as if `sender` had signed it.
fn tx(sender: u16, nonce: u64, tip: u128) -> Arc<SignedTx> {
    let tx = TxEip1559 {
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 1_000 + tip,
        max_priority_fee_per_gas: tip,
        to: TxKind::Call(Address::ZERO),
        ..TxEip1559::default()
    };
    let signature = Signature::new(U256::from(sender), U256::from(1), false);
    let tx = OpTxEnvelope::Eip1559(tx.into_signed(signature));
    let encoded = tx.encoded_2718().into();
    let sender = Address::left_padding_from(&sender.to_be_bytes());
    Arc::new(SignedTx { tx: Recovered::new_unchecked(tx, sender), encoded })
}

fn add(pool: &mut Pool, tx: &Arc<SignedTx>) -> Result<(), PoolError> {
    pool.add(Arc::clone(tx), U256::from(1), |_| RICH)?;
    pool.release(tx);
    Ok(())
}

fn nonces(txs: &[Arc<SignedTx>]) -> Vec<u64> {
    txs.iter().map(|tx| tx.nonce()).collect()
}

#[test]
fn a_transaction_that_is_not_in_the_journal_yet_does_not_run() {
    let mut pool = Pool::default();
    pool.begin_block(7);
    let first = tx(1, 0, 5);
    pool.add(Arc::clone(&first), U256::from(1), |_| RICH).unwrap();
    add(&mut pool, &tx(1, 1, 5)).unwrap();
    assert!(pool.take(9).is_empty());
    pool.begin_block(7);
    assert!(pool.take(9).is_empty());
    pool.release(&first);
    assert_eq!(nonces(&pool.take(9)), [0, 1]);
}

#[test]
fn what_did_not_fit_runs_in_the_next_block_in_order() {
    let mut pool = Pool::default();
    pool.begin_block(7);
    let all: Vec<_> = (0..4).map(|nonce| tx(1, nonce, 5)).collect();
    all.iter().for_each(|tx| add(&mut pool, tx).unwrap());
    let taken = pool.take(3);
    assert_eq!(nonces(&taken), [0, 1, 2]);
    pool.give_back(&taken[1]);
    pool.give_back(&taken[2]);
    assert!(pool.take(9).is_empty(), "not in this block");
    assert_eq!(pool.next_nonce(all[0].sender(), 0), 4);
    pool.sealed([(all[0].sender(), 0)].into_iter());
    pool.begin_block(7);
    assert_eq!(nonces(&pool.take(9)), [1, 2, 3]);
    let refused = add(&mut pool, &tx(1, 1, 50)).unwrap_err();
    assert_eq!(refused, PoolError::NonceTooLow { nonce: 1, next: 4 }, "it is in a block already");
    pool.sealed((1..4).map(|nonce| (all[0].sender(), nonce)));
    assert_eq!(pool.counts(), Counts::default());
    assert_eq!(pool.bytes(), 0);
}

#[test]
fn what_follows_an_invalid_transaction_waits_for_another_in_its_place() {
    let mut pool = Pool::default();
    pool.begin_block(7);
    (0..3).for_each(|nonce| add(&mut pool, &tx(1, nonce, 5)).unwrap());
    let taken = pool.take(9);
    pool.drop_invalid(&taken[0], 0);
    pool.give_back(&taken[1]);
    pool.give_back(&taken[2]);
    assert!(pool.take(9).is_empty());
    assert_eq!(pool.counts(), Counts { pending: 0, queued: 2 });
    add(&mut pool, &tx(1, 0, 9)).unwrap();
    assert_eq!(nonces(&pool.take(9)), [0, 1, 2]);
}

/// EIP-7702: an authorization in somebody else's transaction raises the nonce.
#[test]
fn a_nonce_that_another_raised_does_not_hold_up_the_rest() {
    let mut pool = Pool::default();
    pool.begin_block(7);
    (0..3).for_each(|nonce| add(&mut pool, &tx(1, nonce, 5)).unwrap());
    let taken = pool.take(1);
    pool.drop_invalid(&taken[0], 1);
    assert_eq!(nonces(&pool.take(9)), [1, 2]);
}

#[test]
fn everything_that_waits_must_be_paid_for() {
    let mut pool = Pool::default();
    let account = |_| Sender { nonce: 0, balance: U256::from(10), is_contract: false };
    pool.add(tx(1, 0, 5), U256::from(6), account).unwrap();
    let more = pool.add(tx(1, 1, 5), U256::from(5), account).unwrap_err();
    let (balance, cost, queued) = (U256::from(10), U256::from(5), U256::from(6));
    assert_eq!(more, PoolError::InsufficientFunds { balance, cost, queued });
    pool.add(tx(1, 1, 5), U256::from(4), account).unwrap();
    pool.add(tx(1, 0, 500), U256::from(6), account).unwrap();
}

#[test]
fn a_full_pool_pushes_out_what_pays_least() {
    let mut pool = Pool::default();
    pool.begin_block(0);
    let senders = u16::MAX;
    (0..senders).for_each(|sender| add(&mut pool, &tx(sender, 0, 100)).unwrap());
    add(&mut pool, &tx(0, 1, 100)).unwrap();
    assert_eq!(pool.counts().pending, POOL_TXS_MAX);
    assert_eq!(add(&mut pool, &tx(senders, 0, 100)), Err(PoolError::Full));
    let cheap = pool.get(tx(77, 0, 100).hash());
    assert!(cheap.is_some());
    for nonce in 0..2_000 {
        add(&mut pool, &tx(senders, nonce, 101)).unwrap();
    }
    assert!(pool.counts().pending <= POOL_TXS_MAX);
    let best = pool.take(2_000);
    assert!(best.iter().all(|tx| tx.tx.priority_fee_or_price() == 101), "none of them was lost");
    assert!(pool.get(tx(0, 0, 100).hash()).is_some(), "only the last of a sender goes");
}

/// The pool in a form that is too simple to be wrong: what waits, by sender and nonce.
#[derive(Default)]
struct Plain {
    waiting: std::collections::BTreeMap<(u16, u64), (u128, u64)>,
    next: std::collections::BTreeMap<u16, u64>,
    arrivals: u64,
}

impl Plain {
    fn add(&mut self, sender: u16, nonce: u64, tip: u128) -> bool {
        if nonce < self.next.get(&sender).copied().unwrap_or(0) {
            return false;
        }
        let old = self.waiting.get(&(sender, nonce));
        // Fee cap and tip must both rise by a tenth; the cap is 1,000 above the tip.
        let bumped = |old: u128| old + (old * 10).div_ceil(100).max(1);
        if old.is_some_and(|(old, _)| tip < bumped(*old) || tip + 1_000 < bumped(old + 1_000)) {
            return false;
        }
        self.arrivals += 1;
        self.waiting.insert((sender, nonce), (tip, self.arrivals));
        true
    }

    fn take(&mut self) -> Option<(u16, u64)> {
        let runnable = self
            .waiting
            .iter()
            .filter(|((sender, nonce), _)| *nonce == self.next.get(sender).copied().unwrap_or(0));
        let best = runnable.max_by_key(|(_, (tip, arrival))| (*tip, Reverse(*arrival)));
        let key = *best?.0;
        self.waiting.remove(&key);
        self.next.insert(key.0, key.1 + 1);
        Some(key)
    }
}

proptest! {
    #[test]
    fn the_order_is_that_of_the_plain_pool(
        steps in prop::collection::vec(
            prop_oneof![
                4 => (0u16..4, 0u64..6, 1u128..200).prop_map(Some),
                1 => Just(None),
            ],
            1..120,
        ),
    ) {
        let (mut pool, mut plain) = (Pool::default(), Plain::default());
        pool.begin_block(7);
        let mut total = 0;
        for step in steps {
            if let Some((sender, nonce, tip)) = step {
                let tx = tx(sender, nonce, tip);
                if pool.get(tx.hash()).is_none() {
                    let added = plain.add(sender, nonce, tip);
                    total += usize::from(added && plain.arrivals > 0);
                    prop_assert_eq!(add(&mut pool, &tx).is_ok(), added);
                }
            } else {
                let taken = pool.take(1);
                let expected = plain.take();
                let key = |tx: &Arc<SignedTx>| {
                    (u16::from_be_bytes([tx.sender()[18], tx.sender()[19]]), tx.nonce())
                };
                prop_assert_eq!(taken.first().map(key), expected);
            }
        }
        let (counts, taken) = (pool.counts(), plain.next.values().sum::<u64>());
        let held = plain.waiting.len() + usize::try_from(taken).unwrap();
        prop_assert_eq!(counts.pending + counts.queued, held);
        prop_assert!(total >= held);
        prop_assert_eq!(pool.encoded().len(), held);
    }
}
