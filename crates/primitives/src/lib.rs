//! The vocabulary every other crate shares: amounts, shares, receipts, the fee split, Merkle trees.
//!
//! No I/O, no clock, no model, no node. What is here is what a receipt means, so that the gateway that
//! signs one, the contract that settles one and the auditor who checks one use the same words.
//!
//! ```text
//! tokens × Price ─▶ Fee ─▶ split ─▶ FeeParts ◀─ Share per payee
//! records ─▶ MerkleTree ─▶ root, proofs            Receipt ─▶ EIP-712 digest
//! ```
//!
//! **Invariant:** amounts are whole wei; arithmetic is checked; rounding always favours the commons.
//! **Invariant:** the parts of a fee sum to the fee, asserted where they are made.

mod amount;
mod fee_split;
pub mod merkle;
mod receipt;
mod share;

pub use amount::{OpenAmount, ParseAmountError};
pub use fee_split::{FeeError, FeeParts, Price, SplitBps, fee, split_fee};
pub use receipt::{
    Payee, RECEIPT_DOMAIN_NAME, RECEIPT_DOMAIN_VERSION, Receipt, Settlement, SpendingLimit,
    receipt_domain,
};
pub use share::Share;

pub use alloy_primitives::{Address, B256, U256, keccak256};
