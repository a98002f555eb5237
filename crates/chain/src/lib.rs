//! The rollup node, as a library.
//!
//! Runs an EVM chain whose gas token is OPEN: takes signed transactions over JSON-RPC, makes a block
//! every second under the OP Stack's Isthmus rules, keeps every block on disk and answers what
//! wallets and tools ask. It is not an L1, a batcher or a bridge, and it knows nothing of what runs
//! on it: no Datanet, no model, no receipt of ours.
//!
//! ```text
//!  JSON-RPC ──▶ pool ──▶ producer ──▶ execution ──▶ block log (fsync) ──▶ chain ──▶ JSON-RPC
//!              journal      ▲                                               │
//!                       L1 origin, clock                    blocks, states, news of both
//! ```
//!
//! One thread extends the chain. Readers work on views: a view of the state after
//! one block never changes, because the world under it keeps what later blocks replace.
//!
//! **Invariant:** a block is announced, and a transaction acknowledged, only when it is on disk.
//! **Invariant:** a block's timestamp is its parent's plus one second, whatever the wall clock says.
//! **Invariant:** everything that decides what a block does is in the genesis, the parent block, the
//! L1 origin and the transactions. No custom precompile, transaction type or state outside the EVM.
//! **Invariant:** the state root is that of `alloy-trie` over the same accounts.

mod chain;
mod clock;
mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod execution;
#[cfg(fuzzing)]
pub mod fuzzing;
mod genesis;
mod l1;
mod metrics;
mod node;
mod pool;
mod producer;
mod rpc;
mod state;
mod storage;
mod transaction;
mod trie;

pub use config::{BlockProduction, Config, JournalSync};
pub use error::Error;
pub use genesis::{
    DEV_BALANCE, DEVNET_CHAIN_ID, Genesis, GenesisAccount, L1FeeScalars, RollupL1, dev_accounts,
};
pub use node::{Handle, Head, Node};
