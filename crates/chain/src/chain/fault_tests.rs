//! A node's whole storage on a disk that fails: at every operation, in every way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc},
};

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};

use rayon::prelude::*;

use super::{Chain, Snapshots, Tip};
use crate::{
    Error, Genesis, JournalSync, dev_accounts,
    execution::{BuiltBlock, Edit, MESSAGE_PASSER, OpenBlock},
    l1::{EmbeddedL1, L1Source},
    state::HistoryLimits,
    storage::{
        AppendError, DataDir, Journal, Log, encode_block,
        test_directory::{DirectoryFault, TestDirectory},
    },
};

const START: u64 = 1_700_000_000;
const BLOCKS: u64 = 10;
const SNAPSHOT_BLOCKS: u64 = 3;
const LIMITS: HistoryLimits = HistoryLimits { blocks: 3, bytes: 1 << 20 };
const EDITED: Address = Address::repeat_byte(0xed);

/// Small, because it is read back thousands of times.
fn genesis() -> Genesis {
    let mut genesis = Genesis { timestamp: Some(START), ..Genesis::devnet() };
    genesis.alloc.retain(|address, _| dev_accounts().contains(address));
    genesis
}

/// A node without its threads.
struct Storage {
    data_dir: Arc<DataDir>,
    chain: Arc<Chain>,
    log: Log,
    journal: Journal,
    waiting: Vec<Bytes>,
    snapshots: Snapshots,
    _stop: mpsc::Sender<()>,
}

fn open(disk: &TestDirectory) -> Result<Storage, Error> {
    let data_dir = Arc::new(DataDir::on(Arc::new(disk.clone())));
    if data_dir.load_genesis()?.is_none() {
        data_dir.store_genesis(&genesis())?;
    }
    let recovered = Chain::recover(&data_dir, &genesis(), START, LIMITS)?;
    let chain = Arc::new(recovered.chain);
    let sync = JournalSync::Background;
    let (journal, waiting) = Journal::open(Arc::clone(&data_dir), chain.genesis_hash, sync)?;
    let (stop, stopped) = mpsc::channel();
    let snapshots =
        Snapshots::new(Arc::clone(&chain), Arc::clone(&data_dir), SNAPSHOT_BLOCKS, stopped);
    let log = recovered.log;
    Ok(Storage { data_dir, chain, log, journal, waiting, snapshots, _stop: stop })
}

/// The next block. With `edits` it gives one account a balance and a slot, and another one each time.
fn build(chain: &Chain, edits: bool) -> BuiltBlock {
    let Tip { block: parent, state } = chain.tip();
    let timestamp = parent.header.timestamp + 1;
    let origin = EmbeddedL1::new(genesis().chain_id, START).origin(timestamp);
    let open = OpenBlock::begin(&chain.rules, &parent, state, &origin, timestamp).unwrap();
    let number = parent.number() + 1;
    if edits {
        let other = Address::with_last_byte(u8::try_from(number).unwrap());
        open.overlay().edit(EDITED, Edit::Balance(U256::from(number)));
        open.overlay().edit(EDITED, Edit::Storage(U256::from(number % 3), U256::from(number)));
        open.overlay().edit(other, Edit::Nonce(number));
    }
    let world = &chain.world;
    let (block, diff) = open.finish().unwrap().seal(|diff| {
        let root = world.apply(number, diff);
        (root, world.latest().storage_root(MESSAGE_PASSER))
    });
    BuiltBlock { block, state: world.latest(), diff }
}

/// What a node has told the world, and must still know.
#[derive(Default)]
struct Told {
    /// Hashes of blocks, from block 1 on.
    blocks: Vec<B256>,
    /// One more, that may be there or not.
    tried: Option<B256>,
    transactions: Vec<Bytes>,
}

fn transaction(number: usize) -> Bytes {
    Bytes::from(vec![u8::try_from(number).unwrap(); 5 + number * 3])
}

/// Runs a node to block [`BLOCKS`], with a restart in between, or until it has to give up.
fn run(disk: &TestDirectory) -> Told {
    let mut told = Told::default();
    for restart_at in [BLOCKS / 2, BLOCKS] {
        let Ok(mut storage) = open(disk) else { return told };
        while storage.chain.head().number() < restart_at {
            let tx = transaction(told.transactions.len());
            if storage.journal.write_and_sync(tx.clone()) {
                told.transactions.push(tx);
            }
            let built = build(&storage.chain, true);
            let hash = built.block.hash;
            let record = encode_block(&built.block, &built.diff);
            let mut tries = 0;
            let offsets = loop {
                tries += 1;
                match storage.log.append(std::slice::from_ref(&record)) {
                    Ok(offsets) => break offsets,
                    // The same block again: the state is its own already.
                    Err(AppendError::NotWritten(_)) if tries < 3 => {}
                    Err(_) => {
                        told.tried = Some(hash);
                        return told;
                    }
                }
            };
            storage.chain.record_hash(&built.block);
            storage.chain.publish(vec![built], &offsets);
            told.blocks.push(hash);
            told.tried = None;
            storage.snapshots.write_if_grown_by(u64::MAX);
            if storage.chain.head().number().is_multiple_of(5) {
                storage.journal.shorten(&told.transactions);
            }
        }
    }
    told
}

/// Opens what is left, and checks that everything is there that was told.
fn check(disk: &TestDirectory, told: &Told) {
    let Storage { chain, mut log, journal, waiting, data_dir, .. } = open(disk)
        .unwrap_or_else(|error| panic!("{} blocks were announced: {error}", told.blocks.len()));
    let head = chain.head();
    let mut expected = told.blocks.clone();
    if head.number() > expected.len() as u64 {
        expected.extend(told.tried);
    }
    assert_eq!(head.number(), expected.len() as u64);
    for (number, hash) in (1..).zip(&expected) {
        let block = chain.block(number).unwrap().unwrap();
        assert_eq!(block.hash, *hash);
        assert_eq!(chain.number(*hash), Some(number));
        let deposit = block.txs[0].inner().tx_hash();
        let (found, index) = chain.tx(deposit).unwrap().unwrap();
        assert_eq!((found.hash, index), (*hash, 0));
    }
    let Tip { state, .. } = chain.tip();
    assert_eq!(state.root(), head.header.state_root);
    let balance = state.account(EDITED).map_or(U256::ZERO, |account| account.balance);
    assert_eq!(balance, U256::from(head.number()));
    for tx in &told.transactions {
        assert!(waiting.contains(tx), "the transaction was acknowledged");
    }

    // And it goes on.
    let built = build(&chain, true);
    let hash = built.block.hash;
    let offsets = log.append(&[encode_block(&built.block, &built.diff)]).unwrap();
    chain.record_hash(&built.block);
    chain.publish(vec![built], &offsets);
    assert!(journal.write_and_sync(Bytes::from_static(b"more")));
    drop((chain, log, journal, data_dir));
    let again = open(disk).unwrap();
    assert_eq!(again.chain.head().hash, hash);
}

#[test]
fn no_fault_at_any_operation_loses_what_was_told() {
    let whole = TestDirectory::default();
    let told = run(&whole);
    assert_eq!(told.blocks.len() as u64, BLOCKS);
    assert_eq!(told.transactions.len() as u64, BLOCKS);
    check(&TestDirectory::holding(whole.content()), &told);
    let snapshots = whole.content().into_keys().filter(|name| name.starts_with("snapshot"));
    assert_eq!(snapshots.collect::<Vec<_>>(), ["snapshot-6.state", "snapshot-9.state"]);

    use DirectoryFault::{Done, Half, Nothing, PowerCut};
    let faults = [Nothing, Half, Done, PowerCut].into_iter();
    let cases: Vec<_> =
        faults.flat_map(|fault| (0..whole.operations()).map(move |at| (fault, at))).collect();
    let runs: Vec<(usize, usize)> = cases
        .into_par_iter()
        .map(|(fault, operation)| {
            let disk = TestDirectory::default();
            disk.fail(operation, fault);
            let told = run(&disk);
            let images = disk.crash_images();
            for image in &images {
                let case = Case { fault, operation };
                check(image, &told);
                std::mem::forget(case);
            }
            (told.blocks.len(), images.len())
        })
        .collect();
    let images: usize = runs.iter().map(|(_, images)| images).sum();
    assert!(images > 2_000, "{images}");
    let ends: BTreeSet<_> = runs.iter().map(|(blocks, _)| blocks).collect();
    assert_eq!(ends.len() as u64, BLOCKS + 1, "runs end everywhere: {ends:?}");
}

/// Says where a check failed.
struct Case {
    fault: DirectoryFault,
    operation: usize,
}

impl Drop for Case {
    fn drop(&mut self) {
        println!("{:?} at operation {}", self.fault, self.operation);
    }
}

/// The files of a chain that has run to its end.
fn files() -> (BTreeMap<String, Vec<u8>>, Told) {
    let disk = TestDirectory::default();
    let told = run(&disk);
    (disk.content(), told)
}

#[test]
fn damage_to_what_is_derived_costs_time_and_nothing_else() {
    let (files, told) = files();
    for name in ["blocks.index", "snapshot-6.state", "snapshot-9.state"] {
        let mut gone = files.clone();
        gone.remove(name);
        check(&TestDirectory::holding(gone), &told);
        for at in (0..files[name].len()).step_by(37) {
            // The version, which is not damage but news.
            if (8..12).contains(&at) {
                continue;
            }
            let mut damaged = files.clone();
            damaged.get_mut(name).unwrap()[at] ^= 0x10;
            check(&TestDirectory::holding(damaged), &told);
            let mut cut = files.clone();
            cut.get_mut(name).unwrap().truncate(at);
            check(&TestDirectory::holding(cut), &told);
        }
    }
    let mut none = files.clone();
    none.retain(|name, _| !name.starts_with("snapshot"));
    check(&TestDirectory::holding(none), &told);
}

#[test]
fn an_index_of_another_history_is_not_believed() {
    let (files, told) = files();
    let mut shorter = files.clone();
    let log = shorter.get_mut("blocks.log").unwrap();
    log.truncate(log.len() - 7);
    let mut told = Told { blocks: told.blocks, ..Told::default() };
    told.blocks.pop();
    check(&TestDirectory::holding(shorter), &told);
}

#[test]
fn a_snapshot_of_a_newer_release_is_refused_by_its_number() {
    let (mut files, _) = files();
    for name in ["snapshot-6.state", "snapshot-9.state"] {
        let bytes = files.get_mut(name).unwrap();
        bytes[11] = 9;
        let check = keccak256(&bytes[..44]);
        bytes[44..52].copy_from_slice(&check[..8]);
    }
    let error = open(&TestDirectory::holding(files)).err().unwrap();
    assert!(matches!(error, Error::FormatTooNew { found: 9, supported: 2, .. }), "{error}");
}

/// `cargo test --release -p openledger-chain -- --ignored --nocapture what_a_restart_costs`
#[test]
#[ignore = "measures and checks nothing: a million accounts, for whoever changes this structure"]
fn what_a_restart_costs() {
    const DAY: u64 = 86_400;
    for (accounts, blocks) in [(0, DAY), (1_000_000, 4_000)] {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = Arc::new(DataDir::open(dir.path()).unwrap());
        let mut genesis = genesis();
        let account = |n: u64| {
            let balance = U256::from(n);
            let address = Address::from_word(keccak256(n.to_be_bytes()));
            (address, crate::GenesisAccount { balance, ..Default::default() })
        };
        genesis.extend_alloc((0..accounts).map(account).collect());
        let limits = HistoryLimits { blocks: 8192, bytes: 1 << 30 };
        let open = || {
            let started = std::time::Instant::now();
            let recovered = Chain::recover(&data_dir, &genesis, START, limits).unwrap();
            (recovered, started.elapsed())
        };
        let recovered = open().0;
        let chain = Arc::new(recovered.chain);
        let mut log = recovered.log;
        let (_stop, stopped) = mpsc::channel();
        let mut snapshots =
            Snapshots::new(Arc::clone(&chain), Arc::clone(&data_dir), 3_600, stopped);
        let mut snapshot_time = std::time::Duration::ZERO;
        for _ in 0..blocks {
            let built = build(&chain, false);
            let record = encode_block(&built.block, &built.diff);
            let offsets = log.write(&[record]).unwrap();
            chain.record_hash(&built.block);
            chain.publish(vec![built], &offsets);
            let started = std::time::Instant::now();
            snapshots.write_if_grown_by(u64::MAX);
            snapshot_time = snapshot_time.max(started.elapsed());
        }
        let head = chain.head().hash;
        let log_bytes = log.bytes();
        drop((chain, log, snapshots));
        println!("{blocks} blocks ({log_bytes} bytes), {accounts} accounts:");
        println!("  a snapshot takes {snapshot_time:?}");
        for what in ["as it is", "without index", "without index and snapshots"] {
            for name in data_dir.names() {
                let index = what != "as it is" && name == "blocks.index";
                let snapshot = what.ends_with("snapshots") && name.starts_with("snapshot");
                if index || snapshot {
                    std::fs::remove_file(dir.path().join(name)).unwrap();
                }
            }
            let (recovered, elapsed) = open();
            assert_eq!(recovered.chain.head().hash, head);
            let oldest = (0..=blocks).rev().step_by(100);
            let kept = oldest.take_while(|n| recovered.chain.state(*n).is_ok()).count() * 100;
            println!("  {what}: {elapsed:?}, about {kept} past states");
        }
    }
}
