//! An append-only file of checked records.
//!
//! Opening it reads every record. A record that was cut short by a crash can only be the last one:
//! it is removed. Damage with intact records after it cannot come from a crash, and is an error.
//!
//! **Invariant:** what [`Log::append`] returned for is read back by every later opening, or the
//! opening fails.

use std::{
    cmp::Ordering,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use alloy_primitives::{B256, keccak256};

use super::{
    file::LogFile,
    frame::{self, HEAD_BYTES, Head, MAGIC, TAIL_BYTES},
};
use crate::Error;

/// Bytes of the file's own header: magic, format version, identity, check.
pub(super) const FILE_HEADER_BYTES: usize = 8 + 4 + 32 + 8;
/// How much is read at once while looking for intact records behind damage.
const SCAN_BYTES: usize = 1 << 20;

/// What a log is for. Two logs with different kinds or identities are never mistaken for another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogKind {
    /// First bytes of the file.
    pub(crate) magic: [u8; 8],
    /// Format of the records. Others are refused, older ones too: there is no release yet that wrote them.
    pub(crate) version: u32,
}

/// Why records could not be appended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// Nothing was appended; it may be tried again.
    #[error("cannot write: {0}")]
    NotWritten(io::Error),
    /// The system does not say what is durable and what is not. Nothing may be appended any more.
    #[error("cannot make durable: {0}")]
    Unknown(io::Error),
}

/// An open log, positioned behind its last record.
pub(crate) struct Log {
    file: Arc<dyn LogFile>,
    end: u64,
    next_sequence: u64,
}

impl Log {
    /// The bytes that an empty log begins with.
    pub(crate) fn file_header(kind: LogKind, identity: B256) -> Vec<u8> {
        let mut header = Vec::with_capacity(FILE_HEADER_BYTES);
        header.extend_from_slice(&kind.magic);
        header.extend_from_slice(&kind.version.to_be_bytes());
        header.extend_from_slice(identity.as_slice());
        let check = keccak256(&header);
        header.extend_from_slice(&check[..8]);
        header
    }

    /// A whole file: `header` and then the records, from sequence 0 on.
    pub(crate) fn encode_after(header: Vec<u8>, payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = header;
        for (sequence, payload) in (0..).zip(payloads) {
            frame::encode(sequence, payload, &mut bytes);
        }
        bytes
    }

    /// Opens a log and hands each record to `on_record`, in order, with its offset.
    ///
    /// Errors: [`Error::FormatTooNew`]; [`Error::LogDamaged`], also if `on_record` refuses a record,
    /// with its reason; [`Error::Io`].
    pub(crate) fn open(
        file: Arc<dyn LogFile>,
        path: PathBuf,
        kind: LogKind,
        identity: B256,
        on_record: impl FnMut(u64, Vec<u8>) -> Result<(), String>,
    ) -> Result<Self, Error> {
        let start = (FILE_HEADER_BYTES as u64, 0);
        Self::open_at(file, path, kind, identity, start, on_record)
    }

    /// The same from an offset on, where a record with the given sequence number begins or the log
    /// ends. What lies before it is checked when it is read.
    pub(crate) fn open_at(
        file: Arc<dyn LogFile>,
        path: PathBuf,
        kind: LogKind,
        identity: B256,
        (end, next_sequence): (u64, u64),
        mut on_record: impl FnMut(u64, Vec<u8>) -> Result<(), String>,
    ) -> Result<Self, Error> {
        let damaged = |offset, reason: &str| Error::LogDamaged {
            path: path.clone(),
            offset,
            reason: reason.to_owned(),
        };
        Self::check(&*file, &path, kind, identity)?;
        let len = file.len().map_err(Error::io("read", &path))?;
        let mut log = Self { file, end, next_sequence };
        while log.end < len {
            match read_record(&*log.file, log.end, len).map_err(Error::io("read", &path))? {
                Found::Record(head, payload) => {
                    if head.sequence != log.next_sequence {
                        return Err(damaged(log.end, "the record is out of order"));
                    }
                    on_record(log.end, payload).map_err(|reason| damaged(log.end, &reason))?;
                    log.end += record_bytes(head);
                    log.next_sequence += 1;
                }
                Found::Damage { search_from } => {
                    if find_record(&*log.file, search_from, len)
                        .map_err(Error::io("read", &path))?
                    {
                        let reason = "the record does not match its checksum, yet later ones do";
                        return Err(damaged(log.end, reason));
                    }
                    tracing::warn!(
                        path = %path.display(),
                        offset = log.end,
                        bytes = len - log.end,
                        "removing a record that was not completely written"
                    );
                    log.file.truncate(log.end).map_err(Error::io("cut", &path))?;
                    log.file.sync().map_err(Error::io("sync", &path))?;
                    break;
                }
            }
        }
        Ok(log)
    }

    /// Checks that the file is of this kind and identity; returns where its records begin.
    ///
    /// Errors: [`Error::FormatTooNew`], [`Error::FormatTooOld`], [`Error::LogDamaged`], [`Error::Io`].
    pub(super) fn check(
        file: &dyn LogFile,
        path: &Path,
        kind: LogKind,
        identity: B256,
    ) -> Result<u64, Error> {
        let len = file.len().map_err(Error::io("read", path))?;
        check_file_header(file, len, kind, identity).map_err(|fault| match fault {
            HeaderFault::Io(source) => Error::io("read", path)(source),
            HeaderFault::TooNew(found) => {
                Error::FormatTooNew { path: path.to_owned(), found, supported: kind.version }
            }
            HeaderFault::TooOld(found) => {
                Error::FormatTooOld { path: path.to_owned(), found, supported: kind.version }
            }
            HeaderFault::Damaged(reason) => {
                Error::LogDamaged { path: path.to_owned(), offset: 0, reason: reason.to_owned() }
            }
        })?;
        Ok(FILE_HEADER_BYTES as u64)
    }

    /// Appends records and returns once they are durable, with the offset of each.
    pub(crate) fn append(&mut self, payloads: &[Vec<u8>]) -> Result<Vec<u64>, AppendError> {
        let offsets = self.write(payloads)?;
        // After a failed sync the system may have dropped the pages, and a second sync would succeed
        // without having written them.
        self.file.sync().map_err(AppendError::Unknown)?;
        Ok(offsets)
    }

    /// Appends records and returns their offsets. They survive the process now, and a power cut only
    /// after [`file`](Self::file) was synced.
    pub(crate) fn write(&mut self, payloads: &[impl AsRef<[u8]>]) -> Result<Vec<u64>, AppendError> {
        let mut bytes = Vec::new();
        let mut offsets = Vec::with_capacity(payloads.len());
        for (sequence, payload) in (self.next_sequence..).zip(payloads) {
            offsets.push(self.end + bytes.len() as u64);
            frame::encode(sequence, payload.as_ref(), &mut bytes);
        }
        if let Err(error) = self.file.write_all_at(&bytes, self.end) {
            // What was written of it must not stay: a shorter record written over it later could
            // leave intact-looking remains behind itself.
            return match self.file.truncate(self.end) {
                Ok(()) => Err(AppendError::NotWritten(error)),
                Err(error) => Err(AppendError::Unknown(error)),
            };
        }
        self.end += bytes.len() as u64;
        self.next_sequence += payloads.len() as u64;
        Ok(offsets)
    }

    /// Removes the records from `offset` on, where record `sequence` begins, and returns once they are
    /// durably gone.
    pub(crate) fn rewind(&mut self, offset: u64, sequence: u64) -> Result<(), AppendError> {
        self.file.truncate(offset).map_err(AppendError::Unknown)?;
        (self.end, self.next_sequence) = (offset, sequence);
        self.file.sync().map_err(AppendError::Unknown)
    }

    /// The file, for syncing it beside the writer.
    pub(crate) fn file(&self) -> Arc<dyn LogFile> {
        Arc::clone(&self.file)
    }

    /// Bytes in the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.end
    }

    /// Reads records by offset, also while others are appended.
    pub(crate) fn reader(&self) -> LogReader {
        LogReader::new(Arc::clone(&self.file))
    }
}

/// Reads records of a log by offset.
#[derive(Clone)]
pub(crate) struct LogReader {
    file: Arc<dyn LogFile>,
}

impl LogReader {
    pub(crate) fn new(file: Arc<dyn LogFile>) -> Self {
        Self { file }
    }

    /// The payload of the record at `offset`. An error if it cannot be read back as it was written.
    pub(crate) fn read(&self, offset: u64) -> io::Result<Vec<u8>> {
        self.read_record(offset).map(|(_, payload, _)| payload)
    }

    /// Sequence number and payload of the record at `offset`, and where the next one begins.
    pub(crate) fn read_record(&self, offset: u64) -> io::Result<(u64, Vec<u8>, u64)> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the record is damaged");
        match read_record(&*self.file, offset, u64::MAX)? {
            Found::Record(head, payload) => {
                Ok((head.sequence, payload, offset + record_bytes(head)))
            }
            Found::Damage { .. } => Err(damaged()),
        }
    }
}

enum HeaderFault {
    Io(io::Error),
    TooNew(u32),
    TooOld(u32),
    Damaged(&'static str),
}

fn check_file_header(
    file: &dyn LogFile,
    len: u64,
    kind: LogKind,
    identity: B256,
) -> Result<(), HeaderFault> {
    let mut header = [0u8; FILE_HEADER_BYTES];
    if len < FILE_HEADER_BYTES as u64 {
        return Err(HeaderFault::Damaged("the file is shorter than its header"));
    }
    file.read_exact_at(&mut header, 0).map_err(HeaderFault::Io)?;
    let (fields, check) = header.split_at(FILE_HEADER_BYTES - 8);
    if *check != keccak256(fields)[..8] || fields[..8] != kind.magic {
        return Err(HeaderFault::Damaged("the file's header is damaged, or of another kind"));
    }
    let version = u32::from_be_bytes(fields[8..12].try_into().expect("four bytes"));
    match version.cmp(&kind.version) {
        Ordering::Greater => return Err(HeaderFault::TooNew(version)),
        Ordering::Less => return Err(HeaderFault::TooOld(version)),
        Ordering::Equal => {}
    }
    if fields[12..] != identity[..] {
        return Err(HeaderFault::Damaged("the file belongs to another chain"));
    }
    Ok(())
}

fn record_bytes(head: Head) -> u64 {
    (HEAD_BYTES + head.payload_bytes + TAIL_BYTES) as u64
}

/// What lies at an offset.
enum Found {
    Record(Head, Vec<u8>),
    /// No intact record; a later one could begin at this offset or behind it.
    Damage {
        search_from: u64,
    },
}

/// Reads what lies at `offset` in a file of `len` bytes.
fn read_record(file: &dyn LogFile, offset: u64, len: u64) -> io::Result<Found> {
    let left = len - offset;
    if left < (HEAD_BYTES + TAIL_BYTES) as u64 {
        return Ok(Found::Damage { search_from: len });
    }
    let mut head_bytes = [0u8; HEAD_BYTES];
    file.read_exact_at(&mut head_bytes, offset)?;
    let Some(head) = frame::decode_head(&head_bytes) else {
        return Ok(Found::Damage { search_from: offset + 1 });
    };
    // With an intact head the record's extent is known. What lies inside it is not searched: a user
    // could have put something there that looks like a record.
    let end = offset.saturating_add(record_bytes(head));
    if end > len {
        return Ok(Found::Damage { search_from: len });
    }
    let mut rest = vec![0u8; head.payload_bytes + TAIL_BYTES];
    file.read_exact_at(&mut rest, offset + HEAD_BYTES as u64)?;
    let (payload, tail) = rest.split_at(head.payload_bytes);
    if !frame::is_intact(&head_bytes, payload, tail) {
        return Ok(Found::Damage { search_from: end });
    }
    rest.truncate(head.payload_bytes);
    Ok(Found::Record(head, rest))
}

/// Whether an intact record begins at `offset` or later.
fn find_record(file: &dyn LogFile, mut offset: u64, len: u64) -> io::Result<bool> {
    let mut chunk = vec![0u8; SCAN_BYTES];
    while offset < len {
        let bytes = usize::try_from(len - offset).map_or(SCAN_BYTES, |left| left.min(SCAN_BYTES));
        let chunk = &mut chunk[..bytes];
        file.read_exact_at(chunk, offset)?;
        for at in (0..bytes).filter(|at| chunk[*at..].starts_with(&MAGIC)) {
            if let Found::Record(..) = read_record(file, offset + at as u64, len)? {
                return Ok(true);
            }
        }
        // Chunks overlap, so that a magic across their border is seen.
        offset += if bytes > MAGIC.len() { (bytes - MAGIC.len() + 1) as u64 } else { bytes as u64 };
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::{
        super::test_disk::{Fault, TestDisk},
        *,
    };

    const KIND: LogKind = LogKind { magic: *b"testtest", version: 2 };
    const IDENTITY: B256 = B256::repeat_byte(1);

    fn open(disk: Arc<TestDisk>) -> Result<(Log, Vec<Vec<u8>>), Error> {
        let mut records = Vec::new();
        let log = Log::open(disk, "test.log".into(), KIND, IDENTITY, |_, bytes| {
            records.push(bytes);
            Ok(())
        })?;
        Ok((log, records))
    }

    fn empty() -> Arc<TestDisk> {
        Arc::new(TestDisk::holding(Log::file_header(KIND, IDENTITY)))
    }

    fn payload(index: u8) -> Vec<u8> {
        vec![index; 1 + usize::from(index) * 7]
    }

    /// Every operation of a workload fails once, in every way, and the power goes then or later:
    /// what was acknowledged is there, and nothing else but what was tried.
    #[test]
    fn no_fault_of_the_disk_loses_an_acknowledged_record() {
        const RECORDS: u8 = 24;
        let mut images = 0;
        for fault in [Fault::Nothing, Fault::Half] {
            for at in 0..usize::from(RECORDS) * 2 + 2 {
                let disk = empty();
                let (mut log, _) = open(Arc::clone(&disk)).unwrap();
                disk.fail(at, fault);
                let mut acknowledged = Vec::new();
                let mut tried = Vec::new();
                let mut index = 0;
                while index < RECORDS {
                    match log.append(&[payload(index)]) {
                        Ok(_) => acknowledged.push(payload(index)),
                        // Refused cleanly: the next one takes its place.
                        Err(AppendError::NotWritten(_)) => {}
                        Err(AppendError::Unknown(_)) => {
                            tried = acknowledged.clone();
                            tried.push(payload(index));
                            break;
                        }
                    }
                    index += 1;
                }
                for image in disk.crash_images() {
                    let (_, records) = open(Arc::new(TestDisk::holding(image))).unwrap();
                    assert!(
                        records == acknowledged || records == tried,
                        "{fault:?} at operation {at}: {} records of {}",
                        records.len(),
                        acknowledged.len()
                    );
                    images += 1;
                }
            }
        }
        assert!(images > 200, "{images}");
    }

    #[test]
    fn appending_goes_on_after_a_torn_record_is_removed() {
        let disk = empty();
        let (mut log, _) = open(Arc::clone(&disk)).unwrap();
        log.append(&[payload(1), payload(2)]).unwrap();
        let mut torn = disk.crash_images()[1].clone();
        let intact = torn.len();
        frame::encode(2, &payload(3), &mut torn);
        torn.truncate(torn.len() - 3);
        let disk = Arc::new(TestDisk::holding(torn));
        let (mut log, records) = open(Arc::clone(&disk)).unwrap();
        assert_eq!(records, [payload(1), payload(2)]);
        assert_eq!(disk.len().unwrap(), intact as u64);
        let offsets = log.append(&[payload(4)]).unwrap();
        assert_eq!(log.reader().read(offsets[0]).unwrap(), payload(4));
        assert_eq!(open(disk).unwrap().1, [payload(1), payload(2), payload(4)]);
    }

    /// Every single bit, flipped.
    #[test]
    fn a_flipped_bit_is_an_error_or_cuts_the_last_record() {
        let disk = empty();
        let (mut log, _) = open(Arc::clone(&disk)).unwrap();
        let records: Vec<_> = (1..5).map(payload).collect();
        let offsets = log.append(&records).unwrap();
        let intact = disk.crash_images()[0].clone();
        for bit in 0..intact.len() * 8 {
            let mut damaged = intact.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            match open(Arc::new(TestDisk::holding(damaged))) {
                Err(Error::LogDamaged { offset, .. }) => assert!(offset <= (bit / 8) as u64),
                Err(error) => panic!("bit {bit}: {error}"),
                Ok((_, found)) => {
                    assert_eq!(found, records[..3], "bit {bit}");
                    assert!((bit / 8) as u64 >= offsets[3]);
                }
            }
        }
    }

    #[test]
    fn what_looks_like_a_record_inside_a_torn_one_is_not_taken_for_one() {
        let disk = empty();
        let (mut log, _) = open(Arc::clone(&disk)).unwrap();
        let mut trap = Vec::new();
        frame::encode(1, b"inner", &mut trap);
        log.append(&[payload(1)]).unwrap();
        let mut torn = disk.crash_images()[0].clone();
        trap.extend_from_slice(&[0; 100]);
        frame::encode(1, &trap, &mut torn);
        torn.truncate(torn.len() - 50);
        let (_, records) = open(Arc::new(TestDisk::holding(torn))).unwrap();
        assert_eq!(records, [payload(1)]);
    }

    #[test]
    fn a_log_of_another_kind_or_chain_or_future_is_refused() {
        let open = |kind: LogKind, identity| {
            let disk = Arc::new(TestDisk::holding(Log::file_header(kind, identity)));
            open(disk).map(|_| ()).unwrap_err()
        };
        let newer = LogKind { version: 3, ..KIND };
        let error = open(newer, IDENTITY);
        assert!(matches!(error, Error::FormatTooNew { found: 3, supported: 2, .. }));
        let older = LogKind { version: 1, ..KIND };
        let error = open(older, IDENTITY);
        assert!(matches!(error, Error::FormatTooOld { found: 1, supported: 2, .. }));
        let other = LogKind { magic: *b"otherlog", ..KIND };
        assert!(matches!(open(other, IDENTITY), Error::LogDamaged { offset: 0, .. }));
        assert!(matches!(open(KIND, B256::ZERO), Error::LogDamaged { offset: 0, .. }));
    }
}
