//! Where the contracts are on a devnet, and who owns them there.

use alloy_primitives::{Address, address};

/// Chain id of the devnet; the genesis is made for it.
pub const DEVNET_CHAIN_ID: u64 = 161_337;

/// Datanets and their versions.
pub const DATANET_REGISTRY: Address = address!("0x4f4c000000000000000000000000000000000001");
/// Models, prices and lineages.
pub const MODEL_REGISTRY: Address = address!("0x4f4c000000000000000000000000000000000002");
/// Balances, receipts and payouts.
pub const INFERENCE_MARKET: Address = address!("0x4f4c000000000000000000000000000000000003");
/// Derives the shares of a receipt again; keeps no state.
pub const ATTRIBUTION_REFEREE: Address = address!("0x4f4c000000000000000000000000000000000004");

/// Owner and treasury of the market on a devnet: account 0 of the well-known development mnemonic,
/// whose key everybody knows.
pub const DEVNET_OWNER: Address = address!("0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
