//! How one record lies in a log file.
//!
//! ```text
//! ┌───────┬──────────┬────────┬────────────┬─────────┬───────────────┐
//! │ magic │ sequence │ length │ head check │ payload │ payload check │   big-endian
//! │   4   │     8    │    4   │      4     │ length  │       8       │   bytes
//! └───────┴──────────┴────────┴────────────┴─────────┴───────────────┘
//! ```
//!
//! The head has a check of its own, so that a damaged length is told from a record that was cut
//! short. The payload check covers the head too. Both are XXH3, which finds what disks and crashes do to
//! bytes at memory speed; against somebody who can write the files no check of this kind helps.

use std::hash::Hasher as _;

use twox_hash::XxHash3_64;

/// Bytes before the payload.
pub(super) const HEAD_BYTES: usize = 20;
/// Bytes after the payload.
pub(super) const TAIL_BYTES: usize = 8;
/// No record is longer: far above what the gas limit allows a block to hold.
pub(super) const PAYLOAD_BYTES_MAX: usize = 256 << 20;
/// First bytes of every record.
pub(super) const MAGIC: [u8; 4] = *b"OLr1";

/// What the head of a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) sequence: u64,
    pub(super) payload_bytes: usize,
}

/// The record `sequence` with `payload`, appended to `out`.
pub(super) fn encode(sequence: u64, payload: &[u8], out: &mut Vec<u8>) {
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "a record of {} bytes", payload.len());
    let length = u32::try_from(payload.len()).expect("bounded above");
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    let check = head_check(&out[start..]);
    out.extend_from_slice(&check);
    let check = payload_check(&out[start..], payload);
    out.extend_from_slice(payload);
    out.extend_from_slice(&check);
}

/// Reads a head, or `None` if these bytes are not one.
pub(super) fn decode_head(bytes: &[u8; HEAD_BYTES]) -> Option<Head> {
    let (fields, check) = bytes.split_at(HEAD_BYTES - 4);
    if fields[..4] != MAGIC || *check != head_check(fields) {
        return None;
    }
    let sequence = u64::from_be_bytes(fields[4..12].try_into().ok()?);
    let length = u32::from_be_bytes(fields[12..16].try_into().ok()?);
    let payload_bytes = usize::try_from(length).ok().filter(|n| *n <= PAYLOAD_BYTES_MAX)?;
    Some(Head { sequence, payload_bytes })
}

/// Whether `tail` is the check of `head` and `payload`.
pub(super) fn is_intact(head: &[u8; HEAD_BYTES], payload: &[u8], tail: &[u8]) -> bool {
    *tail == payload_check(head, payload)
}

fn head_check(fields: &[u8]) -> [u8; 4] {
    XxHash3_64::oneshot(fields).to_be_bytes()[..4].try_into().expect("a hash has 8 bytes")
}

fn payload_check(head: &[u8], payload: &[u8]) -> [u8; TAIL_BYTES] {
    let mut hasher = XxHash3_64::new();
    hasher.write(head);
    hasher.write(payload);
    hasher.finish().to_be_bytes()
}
