//! The difficulty of a proof-of-work block.

use alloy_primitives::U256;
use openledger_chain::conformance::{EthForks, EthereumHardfork as Fork, EthereumHardforks};

/// No block is easier than this.
const DIFFICULTY_MIN: U256 = U256::from_limbs([131_072, 0, 0, 0]);
/// Blocks in one step of the "ice age".
const ICE_AGE_PERIOD: u64 = 100_000;

/// Difficulty of block `number` at time `timestamp` after a parent at `parent_time` with
/// `parent_difficulty`, which has uncles or not.
///
/// Source: EIP-2 (Homestead), EIP-100 (Byzantium), and EIP-649, 1234, 2384, 3554, 4345, 5133 for the
/// delays of the ice age.
pub(crate) fn difficulty(
    forks: &EthForks,
    number: u64,
    timestamp: u64,
    parent_time: u64,
    parent_difficulty: U256,
    parent_has_uncles: bool,
) -> U256 {
    let elapsed = timestamp.saturating_sub(parent_time);
    let step = parent_difficulty / U256::from(2048);
    // How many steps up, and how many down.
    let (up, down) = if forks.is_byzantium_active_at_block(number) {
        let up = if parent_has_uncles { 2 } else { 1 };
        balance(up, (elapsed / 9).min(99 + up))
    } else if forks.is_homestead_active_at_block(number) {
        balance(1, (elapsed / 10).min(100))
    } else if elapsed < 13 {
        (1, 0)
    } else {
        (0, 1)
    };
    let base = (parent_difficulty + step * U256::from(up))
        .saturating_sub(step * U256::from(down))
        .max(DIFFICULTY_MIN);
    base + ice_age(number.saturating_sub(ice_age_delay(forks, number)))
}

/// `up − down`, as how far up or how far down.
fn balance(up: u64, down: u64) -> (u64, u64) {
    (up.saturating_sub(down), down.saturating_sub(up))
}

/// What the ice age adds at (virtual) block `number`.
fn ice_age(number: u64) -> U256 {
    match (number / ICE_AGE_PERIOD).checked_sub(2) {
        Some(exponent) => U256::ONE << exponent,
        None => U256::ZERO,
    }
}

/// Blocks by which the ice age is put off.
fn ice_age_delay(forks: &EthForks, number: u64) -> u64 {
    let delays = [
        (Fork::GrayGlacier, 11_400_000),
        (Fork::ArrowGlacier, 10_700_000),
        (Fork::London, 9_700_000),
        (Fork::MuirGlacier, 9_000_000),
        (Fork::Constantinople, 5_000_000),
        (Fork::Byzantium, 3_000_000),
    ];
    let active = |fork| forks.is_ethereum_fork_active_at_block(fork, number);
    delays.into_iter().find(|(fork, _)| active(*fork)).map_or(0, |(_, delay)| delay)
}
