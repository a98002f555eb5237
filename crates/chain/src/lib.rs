//! draft
#![allow(dead_code)]
mod chain;
mod clock;
mod config;
mod error;
mod execution;
mod genesis;
mod l1;
mod pool;
mod producer;
mod state;
mod storage;
mod transaction;
mod trie;
pub use config::{BlockProduction, Config};
pub use error::Error;
pub use genesis::{
    DEV_BALANCE, DEVNET_CHAIN_ID, Genesis, GenesisAccount, L1FeeScalars, dev_accounts,
};
