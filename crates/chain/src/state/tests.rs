//! The world against a plain map per block, over random histories.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_trie::{TrieAccount, root};
use proptest::prelude::*;
use revm::DatabaseRef;

use super::{diff::AccountDiff, *};

/// An account in a form that is too simple to be wrong.
#[derive(Clone, Default)]
struct Plain {
    nonce: u64,
    balance: U256,
    code: Bytes,
    storage: BTreeMap<U256, U256>,
}

type Model = BTreeMap<Address, Plain>;

fn reference_root(accounts: &Model) -> B256 {
    root::state_root_unhashed(accounts.iter().map(|(address, account)| {
        let slots = account.storage.iter().map(|(slot, value)| (B256::from(*slot), *value));
        let account = TrieAccount {
            nonce: account.nonce,
            balance: account.balance,
            storage_root: root::storage_root_unhashed(slots),
            code_hash: keccak256(&account.code),
        };
        (*address, account)
    }))
}

fn apply(model: &mut Model, diff: &StateDiff) {
    for change in &diff.accounts {
        if change.deleted {
            model.remove(&change.address);
            continue;
        }
        let account = model.entry(change.address).or_default();
        account.nonce = change.nonce;
        account.balance = change.balance;
        if change.storage_cleared {
            account.storage.clear();
        }
        if let Some(code) = change.code.first() {
            account.code = code.clone();
        }
        for SlotDiff { slot, value } in &change.storage {
            account.storage.insert(*slot, *value);
        }
        account.storage.retain(|_, value| !value.is_zero());
    }
}

const ADDRESSES: u8 = 8;
const SLOTS: u64 = 6;

fn check(view: &StateView, model: &Model) -> Result<(), TestCaseError> {
    prop_assert_eq!(view.root(), reference_root(model));
    for address in (0..ADDRESSES).map(Address::repeat_byte) {
        let expected = model.get(&address);
        let account = view.account(address);
        prop_assert_eq!(account.is_some(), expected.is_some());
        prop_assert_eq!(view.basic_ref(address).unwrap().is_some(), expected.is_some());
        let expected = expected.cloned().unwrap_or_default();
        if let Some(account) = account {
            prop_assert_eq!(account.balance, expected.balance);
            prop_assert_eq!(account.code(), expected.code.clone());
            prop_assert_eq!(account.code_hash, keccak256(&expected.code));
            prop_assert_eq!(account.nonce, expected.nonce);
            let by_hash = view.code_by_hash_ref(account.code_hash).unwrap();
            prop_assert_eq!(by_hash.original_bytes(), expected.code);
        }
        for slot in (0..SLOTS).map(U256::from) {
            let value = expected.storage.get(&slot).copied().unwrap_or_default();
            prop_assert_eq!(view.storage(address, slot), value);
        }
        let slots = expected.storage.iter().map(|(slot, value)| (B256::from(*slot), *value));
        prop_assert_eq!(view.storage_root(address), root::storage_root_unhashed(slots));
    }
    let accounts: BTreeMap<_, _> = view.accounts().flatten().collect();
    prop_assert!(accounts.keys().eq(model.keys()), "all accounts are listed");
    let slots: BTreeMap<_, _> = view.slots().flatten().collect();
    let expected = model.iter().flat_map(|(address, account)| {
        account.storage.iter().map(|(slot, value)| ((*address, *slot), *value))
    });
    prop_assert_eq!(slots, expected.collect::<BTreeMap<_, _>>());
    for (address, account) in accounts {
        prop_assert_eq!(account.slots, model[&address].storage.len() as u64);
    }
    Ok(())
}

fn any_change() -> impl Strategy<Value = AccountDiff> {
    let value = prop_oneof![Just(0u64), any::<u64>()];
    let slots = prop::collection::btree_map(0..SLOTS, value, 0..4);
    let code = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
    let address = 0..ADDRESSES;
    (address, prop::bool::weighted(0.2), any::<u64>(), any::<u64>(), code, any::<bool>(), slots)
        .prop_map(|(address, deleted, nonce, balance, code, storage_cleared, slots)| AccountDiff {
            address: Address::repeat_byte(address),
            deleted,
            nonce,
            balance: U256::from(balance),
            code: code.map(Bytes::from).into_iter().collect(),
            storage_cleared,
            storage: slots
                .into_iter()
                .map(|(slot, value)| SlotDiff { slot: U256::from(slot), value: U256::from(value) })
                .collect(),
        })
}

fn any_diff() -> impl Strategy<Value = StateDiff> {
    prop::collection::vec(any_change(), 0..6).prop_map(|accounts| StateDiff { accounts })
}

const GENEROUS: HistoryLimits = HistoryLimits { blocks: 1_000, bytes: 1 << 30 };

fn empty(limits: HistoryLimits) -> std::sync::Arc<World> {
    Restore::new(0, limits).finish().0
}

proptest! {
    #[test]
    fn every_view_in_the_window_shows_its_block(
        diffs in prop::collection::vec(any_diff(), 1..24),
        blocks in 0u64..10,
        held in 0u64..24,
    ) {
        let world = empty(HistoryLimits { blocks, ..GENEROUS });
        let mut models = vec![Model::new()];
        // Held over the rest of the history, also when its block leaves the window.
        let mut view = None;
        for (number, diff) in (1u64..).zip(&diffs) {
            let encoded = alloy_rlp::encode(diff);
            prop_assert_eq!(&alloy_rlp::decode_exact::<StateDiff>(&encoded).unwrap(), diff);
            let mut model = models.last().unwrap().clone();
            apply(&mut model, diff);
            prop_assert_eq!(world.apply(number, diff), reference_root(&model));
            models.push(model);
            if number == held {
                view = world.view(number).ok();
            }
            let oldest = number.saturating_sub(blocks);
            for past in 0..=number {
                match world.view(past) {
                    Ok(view) => {
                        prop_assert!(past >= oldest);
                        check(&view, &models[usize::try_from(past).unwrap()])?;
                    }
                    Err(missing) => {
                        prop_assert!(past < oldest);
                        prop_assert_eq!(missing, NoState::Pruned { oldest });
                    }
                }
            }
            prop_assert_eq!(world.view(number + 1).unwrap_err(), NoState::Unknown);
            if let Some(view) = &view {
                check(view, &models[usize::try_from(held).unwrap()])?;
            }
        }
    }

    #[test]
    fn going_back_leaves_no_trace_of_what_came_after(
        steps in prop::collection::vec((any_diff(), prop::option::weighted(0.3, 0usize..6)), 1..24),
    ) {
        let world = empty(GENEROUS);
        let mut models = vec![Model::new()];
        for (diff, back) in steps {
            if let Some(back) = back {
                models.truncate(models.len().saturating_sub(back).max(1));
                world.rewind(models.len() as u64 - 1).unwrap();
            }
            let mut model = models.last().unwrap().clone();
            apply(&mut model, &diff);
            let root = reference_root(&model);
            // As a question first: nothing has changed after it.
            let account = Address::repeat_byte(1);
            let slots = model.get(&account).map(|account| account.storage.clone());
            let slots = slots.unwrap_or_default().into_iter();
            let slots = root::storage_root_unhashed(slots.map(|(slot, v)| (B256::from(slot), v)));
            prop_assert_eq!(world.latest().roots_with(&diff, account), (root, slots));
            prop_assert_eq!(world.apply(models.len() as u64, &diff), root);
            models.push(model);
            for (number, model) in (0u64..).zip(&models) {
                check(&world.view(number).unwrap(), model)?;
            }
            let next = world.view(models.len() as u64);
            prop_assert_eq!(next.unwrap_err(), NoState::Unknown);
        }
        world.rewind(0).unwrap();
        prop_assert_eq!(world.nodes_in_use(), 0, "every node of the blocks that are gone is free");
    }

    #[test]
    fn a_state_is_rebuilt_from_its_parts(diffs in prop::collection::vec(any_diff(), 1..12)) {
        let world = empty(GENEROUS);
        let mut model = Model::new();
        for (number, diff) in (1u64..).zip(&diffs) {
            apply(&mut model, diff);
            world.apply(number, diff);
        }
        let number = diffs.len() as u64;
        let view = world.view(number).unwrap();
        let restore = Restore::new(number, GENEROUS);
        for (address, account) in view.accounts().flatten() {
            restore.code(&account.code());
            let Account { nonce, balance, code_hash, .. } = account;
            restore.accounts(&[PlainAccount { address, nonce, balance, code_hash }]);
        }
        for ((address, slot), value) in view.slots().flatten() {
            restore.storage([(address, vec![SlotDiff { slot, value }])]);
        }
        let (again, root) = restore.finish();
        prop_assert_eq!(root, view.root());
        check(&again.view(number).unwrap(), &model)?;
        let mut next = model.clone();
        apply(&mut next, &diffs[0]);
        prop_assert_eq!(again.apply(number + 1, &diffs[0]), reference_root(&next));
        check(&again.view(number + 1).unwrap(), &next)?;
        check(&again.view(number).unwrap(), &model)?;
    }
}

fn transfer(number: u64) -> StateDiff {
    let account = |address: u64| AccountDiff {
        address: Address::from_word(B256::from(U256::from(address))),
        deleted: false,
        nonce: number,
        balance: U256::from(number),
        code: Vec::new(),
        storage_cleared: false,
        storage: vec![SlotDiff { slot: U256::from(1), value: U256::from(number) }],
    };
    StateDiff { accounts: (0..100).map(|n| account(number % 7 * 100 + n)).collect() }
}

#[test]
fn the_history_stays_within_its_bytes() {
    let bytes = 4 << 20;
    let world = empty(HistoryLimits { bytes, ..GENEROUS });
    let mut most = 0;
    for number in 1..=400 {
        world.apply(number, &transfer(number));
        most = most.max(world.accounts.past_entries());
    }
    let Err(NoState::Pruned { oldest }) = world.view(0) else { panic!("nothing was forgotten") };
    assert!(oldest > 300 && oldest < 395, "{oldest}");
    assert!(world.view(oldest).is_ok());
    assert!(most < 12_000, "{most}");
    assert_eq!(world.accounts.past_entries(), usize::try_from(400 - oldest).unwrap() * 100);
}

#[test]
fn a_reader_sees_one_block_while_others_are_written() {
    let world = empty(HistoryLimits { blocks: 4, ..GENEROUS });
    world.apply(1, &transfer(7));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = 0u64;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        let head = world.window().head();
                        // It may have left the window since.
                        let Ok(view) = world.view(head) else { continue };
                        let balances: Vec<_> = view
                            .accounts()
                            .flatten()
                            .map(|(address, account)| (address, account.balance))
                            .collect();
                        for (address, balance) in balances {
                            assert!(balance <= U256::from(head.max(7)));
                            assert_eq!(view.account(address).unwrap().balance, balance);
                            assert_eq!(view.storage(address, U256::from(1)), balance);
                        }
                        seen += 1;
                    }
                    seen
                })
            })
            .collect();
        for number in 2..400 {
            world.apply(number, &transfer(number));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}

/// `cargo test --release -p openledger-chain -- --ignored --nocapture what_the_state_costs`
#[test]
#[ignore = "measures and checks nothing: a million accounts, for whoever changes this structure"]
fn what_the_state_costs() {
    const ACCOUNTS: u64 = 1_000_000;
    const TOUCHED: u64 = 20_000;
    let address = |n: u64| Address::from_word(keccak256(n.to_be_bytes()));
    let addresses: Vec<_> = (0..ACCOUNTS).map(address).collect();
    let restore = Restore::new(0, GENEROUS);
    let code_hash = restore.code(&Bytes::new());
    let plain = |address: &Address| {
        let (address, nonce, balance) = (*address, 1, U256::from(7));
        PlainAccount { address, nonce, balance, code_hash }
    };
    let started = std::time::Instant::now();
    restore.accounts(&addresses.iter().map(plain).collect::<Vec<_>>());
    let (world, _) = restore.finish();
    println!("{ACCOUNTS} accounts built in {:?}", started.elapsed());
    let mut seed = 1u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        addresses[usize::try_from((seed >> 33) % ACCOUNTS).unwrap()]
    };
    for number in 1..=5 {
        let account = |_| AccountDiff {
            address: random(),
            deleted: false,
            nonce: number,
            balance: U256::from(number) << 64,
            code: Vec::new(),
            storage_cleared: false,
            storage: Vec::new(),
        };
        let diff = StateDiff { accounts: (0..TOUCHED).map(account).collect() };
        let started = std::time::Instant::now();
        world.apply(number, &diff);
        println!("block {number}, {TOUCHED} accounts: {:?}", started.elapsed());
    }
    for number in [5, 4, 0] {
        let view = world.view(number).unwrap();
        let keys: Vec<_> = (0..ACCOUNTS).map(|_| random()).collect();
        let started = std::time::Instant::now();
        let found = keys.iter().filter(|key| view.account(**key).is_some()).count();
        assert_eq!(found as u64, ACCOUNTS);
        let each = started.elapsed() / u32::try_from(ACCOUNTS).unwrap();
        println!("reading an account at block {number}: {each:?}");
    }
}
