//! The contracts as Rust sees them: bindings, addresses, and their state in the devnet's genesis.
//!
//! Everything here is generated from `contracts/` by `npm run build` there and committed, so this crate
//! needs neither Node nor a Solidity compiler. It decides nothing and talks to nobody; with the feature
//! `rpc` the bindings gain `InferenceMarket::new(address, provider)` and its calls.
//!
//! ```text
//! contracts/src ─▶ artifacts/*.json ─▶ bindings (calls, events, errors, structs)
//! contracts/script ─▶ genesis/devnet.json ─▶ genesis_alloc() ─▶ the node's genesis
//! ```
//!
//! **Invariant:** artifacts and genesis are what `contracts/` compiles to; CI rebuilds and compares.
//! **Invariant:** a receipt signed with `openledger_primitives::receipt_domain` is the one that the
//! contract at [`addresses::INFERENCE_MARKET`] settles; tests hold both to it.
//! **Invariant:** the contract at [`addresses::ATTRIBUTION_REFEREE`] derives the shares that
//! `openledger-attribution` derives, to the last unit; that crate's tests and `contracts/test` compare
//! 10,000 answers.

pub mod addresses;
mod bindings;
mod genesis;
mod receipt;

pub use bindings::{AttributionReferee, DatanetRegistry, InferenceMarket, ModelRegistry};
pub use genesis::{GENESIS_ALLOC_JSON, GenesisAccount, genesis_alloc};
