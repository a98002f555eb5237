//! The state after one block, in a file of its own, so that starting does not replay the whole log.
//!
//! ```text
//! file header │ head │ part │ part │ … │ end      each a checked record
//! ```
//!
//! A part holds code, accounts, or slots; an account comes after its code and before its slots. The
//! file is written under another name and renamed when it is complete and durable.
//!
//! **Invariant:** a file with a snapshot's name was written completely. If it is damaged all the same,
//! it is not used: the log has everything.

use std::{collections::HashSet, sync::Arc};

use alloy_consensus::constants::KECCAK_EMPTY;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rlp::{RlpDecodable, RlpEncodable};

use super::{
    data_dir::DataDir,
    file::LogFile,
    frame,
    log::{Log, LogKind, LogReader},
};
use crate::{
    Error,
    state::{HistoryLimits, PlainAccount, Restore, SlotDiff, StateView, World},
};

const SNAPSHOT: LogKind = LogKind { magic: *b"OLstate\0", version: 2 };
const TEMPORARY: &str = "snapshot.tmp";
/// How many are kept: the newest, and one in case it is damaged.
const KEPT: usize = 2;
/// Entries per part: about a megabyte.
const PART_ENTRIES: usize = 8192;
/// Bytes of code per part.
const PART_CODE_BYTES: usize = 1 << 20;

/// Which state a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(crate) struct SnapshotHead {
    pub(crate) number: u64,
    pub(crate) hash: B256,
    pub(crate) state_root: B256,
}

#[derive(Debug, Default, RlpEncodable, RlpDecodable)]
struct Part {
    codes: Vec<Bytes>,
    accounts: Vec<PlainAccount>,
    storage: Vec<AccountStorage>,
}

#[derive(Debug, RlpEncodable, RlpDecodable)]
struct AccountStorage {
    address: Address,
    slots: Vec<SlotDiff>,
}

/// Numbers of the blocks that there are snapshots of, ascending.
pub(crate) fn list(data_dir: &DataDir) -> Vec<u64> {
    let names = data_dir.disk().names().unwrap_or_else(|error| {
        tracing::warn!(%error, "the data directory cannot be listed: no snapshot is used");
        Vec::new()
    });
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number(name)).collect();
    numbers.sort_unstable();
    numbers
}

fn name(number: u64) -> String {
    format!("snapshot-{number}.state")
}

fn number(file_name: &str) -> Option<u64> {
    let number = file_name.strip_prefix("snapshot-")?.strip_suffix(".state")?.parse().ok()?;
    (name(number) == file_name).then_some(number)
}

/// Writes the state that `view` shows, and removes what is older than the last but one. Returns the
/// size of the file in bytes.
///
/// Errors: [`Error::Io`]; the snapshots that were there are still there.
pub(crate) fn write(
    data_dir: &DataDir,
    genesis_hash: B256,
    head: &SnapshotHead,
    view: &StateView,
) -> Result<u64, Error> {
    let path = data_dir.file(TEMPORARY);
    let file = data_dir.disk().create(TEMPORARY).map_err(Error::io("create", &path))?;
    let mut writer = Writer { file: &*file, offset: 0, sequence: 0, buffer: Vec::new() };
    let written = writer
        .bytes(&Log::file_header(SNAPSHOT, genesis_hash))
        .and_then(|()| writer.record(&alloy_rlp::encode(head)))
        .and_then(|()| writer.accounts(view))
        .and_then(|()| writer.slots(view))
        .and_then(|()| writer.record(&alloy_rlp::encode(Part::default())));
    written.map_err(Error::io("write", &path))?;
    let bytes = writer.offset;
    data_dir.put(&*file, TEMPORARY, &name(head.number))?;

    let mut numbers = list(data_dir);
    numbers.truncate(numbers.len().saturating_sub(KEPT));
    for number in numbers {
        if let Err(error) = data_dir.disk().remove(&name(number)) {
            tracing::warn!(%error, number, "an old snapshot could not be removed");
        }
    }
    Ok(bytes)
}

struct Writer<'a> {
    file: &'a dyn LogFile,
    offset: u64,
    sequence: u64,
    buffer: Vec<u8>,
}

impl Writer<'_> {
    fn accounts(&mut self, view: &StateView) -> std::io::Result<()> {
        let mut written = HashSet::from([KECCAK_EMPTY]);
        for accounts in view.accounts() {
            let mut part = Part::default();
            let mut code_bytes = 0;
            for (address, account) in accounts {
                if written.insert(account.code_hash) {
                    let code = account.code();
                    code_bytes += code.len();
                    part.codes.push(code);
                }
                let (nonce, balance, code_hash) =
                    (account.nonce, account.balance, account.code_hash);
                part.accounts.push(PlainAccount { address, nonce, balance, code_hash });
                if part.accounts.len() == PART_ENTRIES || code_bytes > PART_CODE_BYTES {
                    self.part(&std::mem::take(&mut part))?;
                    code_bytes = 0;
                }
            }
            self.part(&part)?;
        }
        Ok(())
    }

    fn slots(&mut self, view: &StateView) -> std::io::Result<()> {
        for mut slots in view.slots() {
            slots.sort_unstable_by_key(|(key, _)| *key);
            for slots in slots.chunks(PART_ENTRIES) {
                let by_account = slots.chunk_by(|(a, _), (b, _)| a.0 == b.0);
                let storage = by_account.map(|slots| AccountStorage {
                    address: slots[0].0.0,
                    slots: slots.iter().map(slot_diff).collect(),
                });
                self.part(&Part { storage: storage.collect(), ..Part::default() })?;
            }
        }
        Ok(())
    }

    fn part(&mut self, part: &Part) -> std::io::Result<()> {
        if part.accounts.is_empty() && part.storage.is_empty() {
            // It would look like the end.
            return Ok(());
        }
        self.record(&alloy_rlp::encode(part))
    }

    fn record(&mut self, payload: &[u8]) -> std::io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        frame::encode(self.sequence, payload, &mut buffer);
        self.sequence += 1;
        let written = self.bytes(&buffer);
        self.buffer = buffer;
        written
    }

    fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

fn slot_diff(((_, slot), value): &((Address, U256), U256)) -> SlotDiff {
    SlotDiff { slot: *slot, value: *value }
}

/// Reads the snapshot of block `number`, if it is of the block with the hash and the state root that
/// `head` says.
///
/// Errors: [`Error::FormatTooNew`]; others if it cannot be used.
pub(crate) fn read(
    data_dir: &DataDir,
    genesis_hash: B256,
    head: &SnapshotHead,
    limits: HistoryLimits,
) -> Result<Arc<World>, Error> {
    let path = data_dir.file(&name(head.number));
    let file = data_dir.disk().open(&name(head.number)).map_err(Error::io("open", &path))?;
    let damaged = |offset: u64, reason: &str| Error::LogDamaged {
        path: path.clone(),
        offset,
        reason: reason.to_owned(),
    };
    let Some(file) = file else { return Err(damaged(0, "it is gone")) };
    let mut offset = Log::check(&*file, &path, SNAPSHOT, genesis_hash)?;
    let reader = LogReader::new(file);
    let mut sequence = 0;
    let mut next = || -> Result<(u64, Vec<u8>), Error> {
        let at = offset;
        let (found, payload, end) = reader.read_record(at).map_err(Error::io("read", &path))?;
        if found != sequence {
            return Err(damaged(at, "the record is out of order"));
        }
        (offset, sequence) = (end, sequence + 1);
        Ok((at, payload))
    };

    let (at, payload) = next()?;
    if alloy_rlp::decode_exact::<SnapshotHead>(&payload).ok() != Some(*head) {
        return Err(damaged(at, "it is of a block that is not in the log"));
    }
    let restore = Restore::new(head.number, limits);
    loop {
        let (at, payload) = next()?;
        let part: Part =
            alloy_rlp::decode_exact(&payload).map_err(|error| damaged(at, &error.to_string()))?;
        if part.accounts.is_empty() && part.storage.is_empty() {
            break;
        }
        for code in &part.codes {
            restore.code(code);
        }
        restore.accounts(&part.accounts);
        restore.storage(part.storage.into_iter().map(|of| (of.address, of.slots)));
    }
    let (world, root) = restore.finish();
    if root != head.state_root {
        return Err(damaged(0, "the state does not have the root of its block"));
    }
    Ok(world)
}

/// Removes what a crash left of a snapshot that was being written.
pub(crate) fn remove_unfinished(data_dir: &DataDir) {
    // Mostly there is none.
    let _ = data_dir.disk().remove(TEMPORARY);
}
