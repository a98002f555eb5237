//! Hashed keys as the paths of a trie: 64 nibbles, the high one of each byte first.

use alloy_primitives::B256;

/// Nibbles in a key.
pub(super) const KEY_NIBBLES: usize = 64;

/// The nibble at `index`.
pub(super) fn nibble(key: &B256, index: usize) -> usize {
    let byte = key[index / 2];
    usize::from(if index.is_multiple_of(2) { byte >> 4 } else { byte & 0x0f })
}

/// `key` with another nibble at `index`.
pub(super) fn with_nibble(mut key: B256, index: usize, nibble: usize) -> B256 {
    let nibble = u8::try_from(nibble).expect("below sixteen");
    let byte = &mut key[index / 2];
    *byte = if index.is_multiple_of(2) {
        (*byte & 0x0f) | (nibble << 4)
    } else {
        (*byte & 0xf0) | nibble
    };
    key
}

/// Where two keys first differ; [`KEY_NIBBLES`] if they are equal.
pub(super) fn first_difference(a: &B256, b: &B256) -> usize {
    match (0..32).find(|index| a[*index] != b[*index]) {
        Some(index) => 2 * index + usize::from((a[index] ^ b[index]) < 0x10),
        None => KEY_NIBBLES,
    }
}

/// Appends the RLP of the hex-prefix encoding of the nibbles `from..to` (Yellow Paper, appendix C).
/// `leaf`: whether the path ends here.
pub(super) fn encode_path(key: &B256, from: usize, to: usize, leaf: bool, out: &mut Vec<u8>) {
    let nibbles = to - from;
    let odd = nibbles % 2 == 1;
    let flags = if leaf { 0x20 } else { 0x00 };
    let bytes = 1 + nibbles / 2;
    if bytes > 1 {
        out.push(0x80 + u8::try_from(bytes).expect("a path has 33 bytes at most"));
    }
    let low = |index| u8::try_from(nibble(key, index)).expect("below sixteen");
    out.push(if odd { flags | 0x10 | low(from) } else { flags });
    let start = from + usize::from(odd);
    if start.is_multiple_of(2) && to.is_multiple_of(2) {
        out.extend_from_slice(&key[start / 2..to / 2]);
    } else {
        for index in (start..to).step_by(2) {
            out.push((low(index) << 4) | low(index + 1));
        }
    }
}

/// Bytes that [`encode_path`] appends.
pub(super) fn path_bytes(nibbles: usize) -> usize {
    let bytes = 1 + nibbles / 2;
    // A single byte is its own RLP: its flags keep it below 0x80.
    bytes + usize::from(bytes > 1)
}
