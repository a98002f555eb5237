//! Runs transactions: a whole block of them, or one that leaves no trace.
//!
//! Pure: takes a state and returns what would change. No clock, no disk, no pool.

mod attributes;
mod block;
mod call;
mod rules;

pub(crate) use block::{BuiltBlock, CandidateTxs, SealedBlock, build_block};
pub(crate) use call::{CallOutcome, Simulation};
pub(crate) use rules::{FEE_VAULT, MESSAGE_PASSER, Rules};
