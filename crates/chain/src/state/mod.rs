//! The world state: every account and its storage, after the latest block and a window of earlier
//! ones.
//!
//! ```text
//! StateDiff ─▶ World ─┬─▶ flat maps with history ─▶ what the EVM and wallets read
//!                     └─▶ tries ─────────────────▶ state roots, proofs
//! ```
//!
//! One thread applies blocks; readers hold a [`StateView`] of one block, which stays as it is.
//!
//! **Invariant:** the flat maps and the tries hold the same state in every block of the window.

mod account;
mod code;
mod diff;
mod flat;
mod restore;
mod scratch;
#[cfg(test)]
mod tests;
mod view;
mod window;
mod world;

pub(crate) use account::Account;
pub(crate) use diff::{AccountDiff, SlotDiff, StateDiff};
pub(crate) use restore::{PlainAccount, Restore};
pub(crate) use scratch::changes;
pub(crate) use view::StateView;
pub(crate) use window::{HistoryLimits, NoState};
pub(crate) use world::World;
