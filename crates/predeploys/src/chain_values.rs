//! What differs from chain to chain.

use std::path::Path;

use alloy_primitives::{Address, U256};
use eyre::{Result, WrapErr};
use serde::Deserialize;

use crate::inputs::Inputs;

/// What differs from chain to chain.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ChainValues {
    pub(crate) chain_id: u64,
    pub(crate) l1_chain_id: u64,
    /// Owns the ProxyAdmin, which upgrades every predeploy, and the LiquidityController.
    pub(crate) owner: Address,
    /// Takes what the fee vaults pay out, on L2.
    pub(crate) fee_recipient: Address,
    /// Least a fee vault pays out, in wei.
    pub(crate) fee_withdrawal_min: U256,
    /// The other ends, on L1.
    pub(crate) l1_cross_domain_messenger: Address,
    pub(crate) l1_standard_bridge: Address,
    pub(crate) l1_erc721_bridge: Address,
    /// What the native asset is called.
    pub(crate) asset_name: String,
    pub(crate) asset_symbol: String,
    /// The native asset that does not circulate at genesis, in wei; below 2²⁴⁸.
    pub(crate) asset_liquidity: U256,
}

impl ChainValues {
    /// Reads the file at `path`.
    pub(crate) fn read(path: &Path, inputs: &mut Inputs) -> Result<Self> {
        let text = inputs.read("values", path)?;
        let values: Self = serde_json::from_str(&text)
            .wrap_err_with(|| format!("{} has no values of a chain", path.display()))?;
        eyre::ensure!(
            values.asset_liquidity < U256::ONE << 248,
            "assetLiquidity must be below 2^248: a bridge must be able to add to it"
        );
        Ok(values)
    }
}
