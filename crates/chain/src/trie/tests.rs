//! The tries against `alloy_trie`, over random histories.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::keccak256;
use alloy_trie::{Nibbles, TrieAccount, proof::verify_proof, root};
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, Default, PartialEq)]
struct PlainAccount {
    nonce: u64,
    balance: U256,
    code_hash: B256,
    slots: BTreeMap<B256, U256>,
}

impl PlainAccount {
    fn encode(&self) -> TrieAccount {
        TrieAccount {
            nonce: self.nonce,
            balance: self.balance,
            storage_root: root::storage_root(self.slots.iter().map(|(k, v)| (*k, *v))),
            code_hash: self.code_hash,
        }
    }
}

/// A state in a form that is too simple to be wrong.
#[derive(Clone, Default)]
struct Plain(BTreeMap<B256, PlainAccount>);

impl Plain {
    fn apply(&mut self, changes: &[AccountChange]) {
        for change in changes {
            let Some(set) = &change.set else {
                self.0.remove(&change.key);
                continue;
            };
            let new = PlainAccount { code_hash: alloy_trie::KECCAK_EMPTY, ..Default::default() };
            let account = self.0.entry(change.key).or_insert(new);
            (account.nonce, account.balance) = (set.nonce, set.balance);
            account.code_hash = set.code_hash.unwrap_or(account.code_hash);
            if set.storage_cleared {
                account.slots.clear();
            }
            account.slots.extend(set.slots.iter().copied());
            account.slots.retain(|_, value| !value.is_zero());
        }
    }

    fn root(&self) -> B256 {
        root::state_root(self.0.iter().map(|(key, account)| (*key, account.encode())))
    }

    fn check(&self, tries: &Tries, number: u64, keys: &[B256]) -> Result<(), TestCaseError> {
        prop_assert_eq!(tries.root(number), self.root());
        for key in keys {
            let account = self.0.get(key);
            let expected = account.map(|account| alloy_rlp::encode(account.encode()));
            let (root, proof) = (tries.root(number), tries.proof(number, key));
            let verified = verify_proof(root, Nibbles::unpack(key), expected, &proof);
            prop_assert!(verified.is_ok(), "{verified:?}");
            let slots = account.map(|account| account.slots.clone()).unwrap_or_default();
            let storage_root = tries.storage_root(number, key);
            prop_assert_eq!(storage_root, root::storage_root(slots.clone()));
            for slot in keys {
                let expected = slots.get(slot).map(alloy_rlp::encode);
                let proof = tries.storage_proof(number, key, slot);
                let verified = verify_proof(storage_root, Nibbles::unpack(slot), expected, &proof);
                prop_assert!(verified.is_ok(), "{verified:?}");
            }
        }
        Ok(())
    }
}

impl Tries {
    /// Panics unless each node is reachable, superseded or free, and only one of them where that is
    /// excluded.
    fn check_places(&self) {
        let mut reachable = BTreeSet::new();
        let mut left: Vec<NodeId> = self.versions.iter().filter_map(|v| v.root).collect();
        while let Some(id) = left.pop() {
            if reachable.insert(id) {
                match &self.arena.get(id).kind {
                    Kind::Leaf { value: Value::Account(account), .. } => {
                        left.extend(account.storage);
                    }
                    Kind::Leaf { .. } => {}
                    Kind::Extension { child, .. } => left.push(*child),
                    Kind::Branch { children, .. } => left.extend(children.iter().flatten()),
                }
            }
        }
        let free: BTreeSet<_> = self.arena.free_places().iter().copied().collect();
        assert_eq!(free.len(), self.arena.free_places().len(), "nothing is freed twice");
        assert!(reachable.is_disjoint(&free), "what is free is in use");
        assert_eq!(reachable.len() + free.len(), self.arena.places(), "a place is lost");
        let superseded = self.versions.iter().flat_map(|version| &version.superseded);
        let superseded: Vec<_> = superseded.collect();
        let distinct: BTreeSet<_> = superseded.iter().collect();
        assert_eq!(distinct.len(), superseded.len(), "nothing is superseded twice");
    }
}

/// Keys that share long prefixes, so that extensions split and merge all the time.
fn crowded_key() -> impl Strategy<Value = B256> {
    (0u8..4, 0u8..4, 0usize..32, 0u8..3).prop_map(|(a, b, at, c)| {
        let mut key = [0u8; 32];
        key[0] = a << 4;
        key[at] ^= b << (4 * (at % 2));
        key[31] ^= c;
        B256::from(key)
    })
}

fn any_key() -> impl Strategy<Value = B256> {
    prop_oneof![2 => crowded_key(), 1 => any::<u8>().prop_map(|n| keccak256([n]))]
}

fn any_value() -> impl Strategy<Value = U256> {
    prop_oneof![
        2 => Just(U256::ZERO),
        3 => (1u64..300).prop_map(U256::from),
        1 => any::<[u8; 32]>().prop_map(U256::from_be_bytes),
    ]
}

fn any_change() -> impl Strategy<Value = AccountChange> {
    let slots = prop::collection::vec((any_key(), any_value()), 0..6);
    let code_hash = prop::option::weighted(0.2, any::<u8>().prop_map(B256::repeat_byte));
    let set = (any::<u64>(), any_value(), code_hash, prop::bool::weighted(0.1), slots).prop_map(
        |(nonce, balance, code_hash, storage_cleared, slots)| AccountSet {
            nonce,
            balance,
            code_hash,
            storage_cleared,
            slots,
        },
    );
    (any_key(), prop::option::weighted(0.7, set)).prop_map(|(key, set)| AccountChange { key, set })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn roots_and_proofs_equal_the_reference_in_every_block_of_the_window(
        blocks in prop::collection::vec(prop::collection::vec(any_change(), 0..12), 1..40),
        window in 1usize..8,
        probes in prop::collection::vec(any_key(), 1..4),
    ) {
        let mut tries = Tries::empty(7);
        let mut states = vec![Plain::default()];
        for (number, changes) in (8..).zip(blocks) {
            let mut next = states.last().unwrap().clone();
            next.apply(&changes);
            let (root, _) = tries.apply(changes.clone());
            prop_assert_eq!(root, next.root());
            states.push(next);
            tries.forget_before((number + 1u64).saturating_sub(window as u64));
            tries.check_places();
            let keys: Vec<B256> =
                probes.iter().copied().chain(changes.first().map(|change| change.key)).collect();
            for number in tries.oldest..=number {
                states[usize::try_from(number - 7).unwrap()].check(&tries, number, &keys)?;
            }
        }
    }
}

fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// A block that changes, creates and removes accounts and slots of a population of constant size.
fn churn(seed: &mut u64, changes: usize) -> Vec<AccountChange> {
    (0..changes)
        .map(|_| {
            let key = keccak256((random(seed) % 400).to_be_bytes());
            let mut slot = || {
                let key = keccak256((random(seed) % 30).to_be_bytes());
                (key, U256::from(random(seed) % 3))
            };
            let slots = vec![slot(), slot()];
            let set = AccountSet {
                nonce: random(seed),
                balance: U256::from(random(seed)),
                code_hash: None,
                storage_cleared: random(seed).is_multiple_of(50),
                slots,
            };
            AccountChange { key, set: (!random(seed).is_multiple_of(8)).then_some(set) }
        })
        .collect()
}

#[test]
fn freed_nodes_are_used_again_over_ten_thousand_blocks() {
    let mut seed = 1;
    let mut tries = Tries::empty(0);
    let mut model = Plain::default();
    let mut settled = 0;
    for number in 1..=10_000u64 {
        let changes = churn(&mut seed, 12);
        model.apply(&changes);
        tries.apply(changes);
        tries.forget_before(number.saturating_sub(32));
        if number == 2_000 {
            settled = tries.arena.places();
        }
        if number.is_multiple_of(500) {
            assert_eq!(tries.root(number), model.root());
            tries.check_places();
        }
    }
    let places = tries.arena.places();
    assert!(places < settled + settled / 20, "{settled} places, then {places}");
}

#[test]
fn a_large_block_is_hashed_by_several_threads_to_the_same_root() {
    let changes: Vec<AccountChange> = (0..20_000u64)
        .map(|n| AccountChange {
            key: keccak256(n.to_be_bytes()),
            set: Some(AccountSet {
                nonce: n,
                balance: U256::from(n),
                code_hash: None,
                storage_cleared: false,
                slots: (0..n % 3).map(|s| (keccak256(s.to_be_bytes()), U256::from(n))).collect(),
            }),
        })
        .collect();
    let mut model = Plain::default();
    model.apply(&changes);
    let mut tries = Tries::empty(0);
    assert_eq!(tries.apply(changes.clone()).0, model.root());

    let removals = |keep: usize| -> Vec<AccountChange> {
        changes.iter().skip(keep).map(|c| AccountChange { key: c.key, set: None }).collect()
    };
    model.apply(&removals(1));
    assert_eq!(tries.apply(removals(1)).0, model.root());
    assert_eq!(tries.apply(removals(0)).0, EMPTY_ROOT_HASH);
    tries.forget_before(3);
    tries.check_places();
    assert_eq!(tries.arena.free_places().len(), tries.arena.places());
}

/// `cargo test --release -p openledger-chain -- --ignored --nocapture what_a_block_costs`
#[test]
#[ignore = "measures and checks nothing: a million accounts, for whoever changes this structure"]
fn what_a_block_costs() {
    let set = |n: u64| AccountSet {
        nonce: n,
        balance: U256::from(n) << 64,
        code_hash: None,
        storage_cleared: false,
        slots: Vec::new(),
    };
    let touch =
        |n: u64, value| AccountChange { key: keccak256(n.to_be_bytes()), set: Some(set(value)) };
    const ACCOUNTS: u64 = 1_000_000;
    let mut tries = Tries::empty(0);
    let started = std::time::Instant::now();
    tries.apply((0..ACCOUNTS).map(|n| touch(n, n)).collect());
    println!("{ACCOUNTS} accounts built in {:?}", started.elapsed());
    let mut seed = 1;
    for touched in [1_000u64, 5_000, 20_000, 20_000, 20_000] {
        let changes = (0..touched).map(|_| touch(random(&mut seed) % ACCOUNTS, touched)).collect();
        let (wall, cpu) = (std::time::Instant::now(), cpu_time());
        let (_, superseded) = tries.apply(changes);
        let (wall, cpu) = (wall.elapsed(), cpu_time() - cpu);
        println!(
            "{touched} touched: {wall:?} wall, {:.2} µs CPU each, {superseded} nodes of {NODE_BYTES} bytes",
            cpu.as_secs_f64() * 1e6 / touched as f64
        );
    }
}

/// CPU time of this process's threads.
fn cpu_time() -> std::time::Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nanoseconds = tasks.map(|task| {
        let stat = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        stat.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    });
    std::time::Duration::from_nanos(nanoseconds.sum())
}
