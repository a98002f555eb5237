//! The rules of one chain: forks, fees, addresses that the protocol knows.

use alloy_consensus::Header;
use alloy_eips::eip1559::BaseFeeParams;
use alloy_evm::EvmEnv;
use alloy_op_evm::evm_env_for_op_block;
use alloy_op_hardforks::{ForkCondition, OpChainHardforks, OpHardfork};
use alloy_primitives::{Address, Bytes, address};
use op_revm::OpSpecId;

use crate::genesis::{BLOCK_TIME_S, Genesis, L1FeeScalars};

/// Receives the tips (SequencerFeeVault).
pub(crate) const FEE_VAULT: Address = address!("0x4200000000000000000000000000000000000011");
/// Its storage root is the header's `withdrawalsRoot` (L2ToL1MessagePasser).
pub(crate) const MESSAGE_PASSER: Address = address!("0x4200000000000000000000000000000000000016");

/// The rules of one chain, from its genesis.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) chain_id: u64,
    pub(crate) gas_limit: u64,
    pub(crate) extra_data: Bytes,
    /// Seconds from a block to the next.
    pub(crate) block_time_s: u64,
    pub(crate) l1_fees: L1FeeScalars,
    pub(crate) batcher: Address,
    pub(crate) forks: OpChainHardforks,
    /// A development chain lets an impersonated contract send (EIP-3607 is off).
    pub(crate) dev: bool,
    base_fee_params: BaseFeeParams,
}

impl Rules {
    pub(crate) fn new(genesis: &Genesis) -> Self {
        // Bedrock came at a block, the later forks at a time.
        let bedrock = [(OpHardfork::Bedrock, ForkCondition::Block(0))];
        let forks = [
            OpHardfork::Regolith,
            OpHardfork::Canyon,
            OpHardfork::Ecotone,
            OpHardfork::Fjord,
            OpHardfork::Granite,
            OpHardfork::Holocene,
            OpHardfork::Isthmus,
        ]
        .map(|fork| (fork, ForkCondition::ZERO_TIMESTAMP));
        Self {
            chain_id: genesis.chain_id,
            gas_limit: genesis.gas_limit,
            extra_data: genesis.extra_data(),
            block_time_s: BLOCK_TIME_S,
            l1_fees: genesis.l1_fees,
            batcher: genesis.batcher,
            dev: false,
            forks: OpChainHardforks::new(bedrock.into_iter().chain(forks)),
            base_fee_params: BaseFeeParams::new(
                genesis.eip1559_denominator.into(),
                genesis.eip1559_elasticity.into(),
            ),
        }
    }

    /// Base fee of the block after `parent` (EIP-1559).
    pub(crate) fn next_base_fee(&self, parent: &Header) -> u64 {
        parent.next_block_base_fee(self.base_fee_params).unwrap_or_default()
    }

    /// What the EVM must know of the block `header`.
    pub(crate) fn evm_env(&self, header: &Header) -> EvmEnv<OpSpecId> {
        let mut env = evm_env_for_op_block(header, &self.forks, self.chain_id);
        env.cfg_env.disable_eip3607 = self.dev;
        env
    }
}
