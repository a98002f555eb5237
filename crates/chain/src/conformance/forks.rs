//! When Ethereum's forks come on one chain.

use alloy_eips::eip7840::BlobParams;
use alloy_evm::{EvmEnv, eth::spec::EthExecutorSpec};
use alloy_hardforks::{EthereumChainHardforks, EthereumHardfork, EthereumHardforks, ForkCondition};
use alloy_primitives::Address;

/// The fork schedule of an Ethereum chain, and what else its blocks depend on.
#[derive(Clone, Debug)]
pub struct EthForks {
    /// EIP-155 chain id.
    pub chain_id: u64,
    forks: EthereumChainHardforks,
    deposit_contract: Option<Address>,
    /// Blob parameters by the time from which they hold, ascending.
    blobs: Vec<(u64, BlobParams)>,
}

impl EthForks {
    /// A schedule. `blobs`: parameters by the time from which they hold; `deposit_contract`: whose
    /// logs are deposit requests (EIP-6110).
    pub fn new(
        chain_id: u64,
        forks: impl IntoIterator<Item = (EthereumHardfork, ForkCondition)>,
        mut blobs: Vec<(u64, BlobParams)>,
        deposit_contract: Option<Address>,
    ) -> Self {
        blobs.sort_by_key(|(from, _)| *from);
        Self { chain_id, forks: EthereumChainHardforks::new(forks), deposit_contract, blobs }
    }

    /// Blob parameters at `timestamp`, if blobs exist then.
    pub fn blob_params(&self, timestamp: u64) -> Option<BlobParams> {
        let at = self.blobs.partition_point(|(from, _)| *from <= timestamp);
        Some(self.blobs.get(at.checked_sub(1)?)?.1)
    }

    /// What the EVM must know of the block `header`.
    pub fn evm_env(&self, header: &alloy_consensus::Header) -> EvmEnv {
        EvmEnv::for_eth_block(header, self, self.chain_id, self.blob_params(header.timestamp))
    }
}

impl EthereumHardforks for EthForks {
    fn ethereum_fork_activation(&self, fork: EthereumHardfork) -> ForkCondition {
        self.forks.ethereum_fork_activation(fork)
    }
}

impl EthExecutorSpec for EthForks {
    fn deposit_contract_address(&self) -> Option<Address> {
        self.deposit_contract
    }
}
