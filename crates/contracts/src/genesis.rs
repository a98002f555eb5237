use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U64, U256};
use serde::Deserialize;

/// The contracts' part of the devnet's genesis: geth's `alloc`, as committed.
pub const GENESIS_ALLOC_JSON: &str = include_str!("../genesis/devnet.json");

/// State of one account at genesis.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisAccount {
    /// Wei.
    pub balance: U256,
    /// 1 for a contract (EIP-161).
    #[serde(deserialize_with = "quantity")]
    pub nonce: u64,
    /// Runtime code.
    pub code: Bytes,
    /// Storage words that are not zero.
    pub storage: BTreeMap<B256, B256>,
}

/// The contracts' accounts at genesis, owned by [`DEVNET_OWNER`](crate::addresses::DEVNET_OWNER) and
/// valid on chain [`DEVNET_CHAIN_ID`](crate::addresses::DEVNET_CHAIN_ID) only.
pub fn genesis_alloc() -> BTreeMap<Address, GenesisAccount> {
    serde_json::from_str(GENESIS_ALLOC_JSON).expect("the committed allocation is tested to parse")
}

fn quantity<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    U64::deserialize(deserializer).map(|nonce| nonce.to())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addresses;

    #[test]
    fn the_four_contracts_are_placed_and_nothing_else() {
        let alloc = genesis_alloc();
        let placed: Vec<_> = alloc.keys().copied().collect();
        assert_eq!(
            placed,
            [
                addresses::DATANET_REGISTRY,
                addresses::MODEL_REGISTRY,
                addresses::INFERENCE_MARKET,
                addresses::ATTRIBUTION_REFEREE,
            ]
        );
        for account in alloc.values() {
            assert_eq!((account.balance, account.nonce), (U256::ZERO, 1));
            assert!(!account.code.is_empty());
            assert!(account.storage.values().all(|word| *word != B256::ZERO));
        }
    }

    #[test]
    fn the_devnet_owner_owns_the_market() {
        let market = &genesis_alloc()[&addresses::INFERENCE_MARKET];
        let owner = addresses::DEVNET_OWNER.into_word();
        // `Ownable._owner` and `treasury`.
        assert_eq!(market.storage.values().filter(|word| **word == owner).count(), 2);
    }
}
