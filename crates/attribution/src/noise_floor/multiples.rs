//! How many pseudo standard errors the floor is, by the number of contrasts it is measured with.

use super::CONTRASTS_MIN;
use crate::ORDER_MAX;

/// Entries: one for each number of contrasts from [`CONTRASTS_MIN`] to that of order 64 with one player.
const ENTRIES: usize = 2 * ORDER_MAX as usize - 2 - CONTRASTS_MIN + 1;

/// In units of 1/64, rounded up. Written by `write_the_multiples` of `tests/it/floor_multiples.rs`.
#[rustfmt::skip]
const MULTIPLES: [u16; ENTRIES] = [
    // table
    531, 392, 370, 314, 279, 259, 253, 236, 227, 217, 213, 207, 202, 198, 195, 192,
    189, 187, 185, 183, 181, 180, 179, 178, 176, 176, 174, 173, 173, 172, 171, 170,
    170, 169, 169, 168, 168, 167, 167, 166, 166, 166, 165, 165, 165, 164, 164, 164,
    163, 163, 163, 163, 162, 162, 162, 162, 161, 161, 161, 161, 161, 161, 160, 160,
    160, 160, 160, 160, 159, 159, 159, 159, 159, 159, 159, 159, 158, 158, 158, 158,
    158, 158, 158, 158, 158, 158, 158, 158, 158, 158, 157, 157, 157, 157, 157, 157,
    157, 157, 157, 157, 157, 157, 156, 157, 157, 156, 157, 156, 156, 156, 156, 156,
    156, 156, 156, 156, 156, 156, 156, 156, 156, 156, 156, 156,
    // end of table
];

/// The noise floor in pseudo standard errors, in units of 1/64: what an effect that is nothing but
/// normal noise exceeds with probability 0.9 %, where the error is measured with `contrasts` contrasts
/// of the same noise and, from [`crate::EMPTY_RUN_CONTRASTS_MIN`] of them on, the part of the empty run
/// is estimated from them and taken from the effect. By simulation, recomputed by a test. `None` where
/// there are too few contrasts for a floor, or more than any design has.
pub fn floor_multiple(contrasts: usize) -> Option<u16> {
    contrasts.checked_sub(CONTRASTS_MIN).and_then(|at| MULTIPLES.get(at).copied())
}
