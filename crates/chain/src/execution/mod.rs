//! Runs transactions: a whole block of them, or one that leaves no trace.
//!
//! Pure: takes a state and returns what would change. No clock, no disk, no pool.

mod attributes;
mod call;
mod open;
mod overlay;
mod receipts;
mod rules;
mod sealed;

pub(crate) use call::{CallOutcome, Simulation};
pub(crate) use open::{ExecutedBlock, NotIncluded, OpenBlock};
pub(crate) use overlay::{Edit, Overlay};
pub(crate) use sealed::{BuiltBlock, SealedBlock};
pub(crate) use rules::{FEE_VAULT, MESSAGE_PASSER, Rules};
