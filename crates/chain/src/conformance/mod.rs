//! The node's parts under Ethereum's own rules, for the conformance runner.
//!
//! Ethereum's official fixtures are made for Ethereum's fork rules, not for a rollup's. This module
//! runs the same state, trie and state diff as a block of ours, with revm behind `alloy-evm`'s
//! Ethereum executor where a block of ours has the OP one. It is compiled only with the feature
//! `conformance`, which no program that ships turns on.
//!
//! **Invariant:** nothing here keeps a state of its own: every root comes from the node's trie, after
//! the node's `StateDiff` was applied to it.

mod block;
mod forks;
mod rpc;
mod transaction;
mod trie;
mod world;

pub use block::{BlockInput, ExecutedBlock};
pub use forks::EthForks;
pub use rpc::{ImportedBlock, RpcNode};
pub use transaction::{EthTx, decode_user_transaction, recover_before_homestead, tx_env};
pub use trie::HashedTrie;
pub use world::{AncestorHashes, Transacted, World};

/// What the EVM must know of a block, and of a transaction.
pub use alloy_evm::EvmEnv;
/// A fork of Ethereum, and when it comes.
pub use alloy_hardforks::{EthereumHardfork, EthereumHardforks, ForkCondition};
pub use revm::{
    context::{BlockEnv, CfgEnv, TxEnv, either::Either},
    context_interface::{block::BlobExcessGasAndPrice, cfg::gas::calculate_initial_tx_gas_for_tx},
    primitives::hardfork::SpecId,
};
