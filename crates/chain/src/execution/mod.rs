//! Runs transactions: a whole block of them, or some that leave no trace.
//!
//! Pure: takes a state and returns what would change. No disk, no pool, and no clock but the one
//! that ends a [simulation](guard) which takes too long; no block depends on it.

mod attributes;
mod guard;
mod open;
mod overlay;
mod receipts;
mod replay;
mod rules;
mod sealed;
mod simulation;
mod transfer_logs;
mod view;

pub(crate) use guard::{Deadline, Exceeded, Guard, Recorded};
pub(crate) use open::{ExecutedBlock, NotIncluded, OpenBlock};
pub(crate) use overlay::{Edit, Overlay};
pub(crate) use replay::{Replay, begin_block};
pub(crate) use rules::{FEE_VAULT, MESSAGE_PASSER, Rules};
pub(crate) use sealed::{BuiltBlock, SealedBlock};
pub(crate) use simulation::{
    CallOutcome, PrecompileChanges, Refusal, Scratch, Simulation, halt_reason, precompiles,
    relax_for_calls, transact, unenveloped,
};
pub(crate) use transfer_logs::TransferLogs;
pub(crate) use view::View;
