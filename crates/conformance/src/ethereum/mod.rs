//! What the fixtures need of Ethereum and a rollup node does not: fork names, proof-of-work
//! difficulty, uncles, and the import of blocks on several branches.

mod chain;
mod difficulty;
mod header;
mod network;
mod ommers;

pub(crate) use chain::Blockchain;
pub(crate) use difficulty::difficulty;
pub(crate) use network::{Network, from_geth_config};
