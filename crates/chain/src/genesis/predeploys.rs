//! The contracts that a chain of ours begins with: the OP Stack's predeploys and usual preinstalls.
//!
//! `genesis/predeploys.json` is made by `crates/predeploys` and checked in CI; `genesis/manifest.json`
//! has the digests of what went in. Its values are the devnet's; another chain has its own made.

use std::collections::BTreeMap;

use alloy_primitives::{Address, address};

use super::{Genesis, GenesisAccount};
use crate::Error;

const PREDEPLOYS_JSON: &str = include_str!("../../genesis/predeploys.json");

/// Addresses from 0x4200…0000 on that are kept for predeploys. Each is a proxy from the beginning, so
/// that an upgrade can put a contract behind it.
const KEPT: u16 = 2_048;
/// As the last of them is in the file, so are all that the file does not name.
const UNUSED: Address = address!("0x42000000000000000000000000000000000007ff");
/// Kept for a governance token, which is no proxy. This chain has none.
const GOVERNANCE_TOKEN: Address = address!("0x4200000000000000000000000000000000000042");

/// The devnet's predeploys and preinstalls.
pub(super) fn devnet() -> BTreeMap<Address, GenesisAccount> {
    let alloc = Genesis::predeploys_from_json(PREDEPLOYS_JSON);
    alloc.expect("the committed allocation is tested to parse")
}

impl Genesis {
    /// Reads what `openledger-predeploys` has made for some chain: the accounts of the file, and a proxy
    /// at every other address that is kept for predeploys.
    ///
    /// Errors: [`Error::InvalidGenesis`] with the place in the text, or what is missing.
    pub fn predeploys_from_json(json: &str) -> Result<BTreeMap<Address, GenesisAccount>, Error> {
        let alloc = Self::alloc_from_json(json)?;
        let Some(unused) = alloc.get(&UNUSED).cloned() else {
            return Err(Error::InvalidGenesis(format!("no proxy at {UNUSED}: no predeploys")));
        };
        Ok(with_unused_proxies(alloc, &unused))
    }
}

fn with_unused_proxies(
    mut alloc: BTreeMap<Address, GenesisAccount>,
    unused: &GenesisAccount,
) -> BTreeMap<Address, GenesisAccount> {
    for suffix in 0..KEPT {
        let mut address = UNUSED;
        address.0[18..].copy_from_slice(&suffix.to_be_bytes());
        if address != GOVERNANCE_TOKEN {
            alloc.entry(address).or_insert_with(|| unused.clone());
        }
    }
    alloc
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{B256, U256, b256, keccak256};

    use super::*;

    /// EIP-1967: keccak256 of the name, less one.
    const IMPLEMENTATION: B256 =
        b256!("0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc");
    const ADMIN: B256 = b256!("0xb53127684a568b3173ae13b9f8a6016e243e63b6e8ee1178d6a717850b5d6103");

    fn predeploy(suffix: u16) -> Address {
        let mut address = UNUSED;
        address.0[18..].copy_from_slice(&suffix.to_be_bytes());
        address
    }

    #[test]
    fn the_slots_are_those_of_eip_1967() {
        for (name, slot) in
            [("eip1967.proxy.implementation", IMPLEMENTATION), ("eip1967.proxy.admin", ADMIN)]
        {
            let expected = U256::from_be_bytes(keccak256(name).0) - U256::ONE;
            assert_eq!(B256::from(expected), slot);
        }
    }

    #[test]
    fn every_kept_address_is_a_proxy_of_the_proxy_admin() {
        let alloc = devnet();
        let proxy = &alloc[&UNUSED].code;
        let mut in_use = 0;
        for suffix in 0..KEPT {
            let address = predeploy(suffix);
            // Neither WETH nor the governance token is a proxy.
            if [0x06, 0x42].contains(&suffix) {
                continue;
            }
            let account = &alloc[&address];
            assert_eq!(&account.code, proxy, "{address}");
            assert_eq!(account.storage[&ADMIN], predeploy(0x18).into_word(), "{address}");
            if let Some(implementation) = account.storage.get(&IMPLEMENTATION) {
                in_use += 1;
                let behind = Address::from_word(*implementation);
                assert!(
                    behind.0.starts_with(&[0xc0, 0xd3]) && behind.0.ends_with(&address.0[18..])
                );
                assert!(!alloc[&behind].code.is_empty(), "{address} points at code");
            }
        }
        assert_eq!(in_use, 20);
        assert!(!alloc.contains_key(&GOVERNANCE_TOKEN));
    }

    #[test]
    fn an_allocation_without_predeploys_is_refused() {
        assert!(matches!(Genesis::predeploys_from_json("{}"), Err(Error::InvalidGenesis(_))));
    }

    #[test]
    fn all_of_open_is_made_at_genesis() {
        let supply: U256 = Genesis::devnet().alloc.values().map(|account| account.balance).sum();
        assert_eq!(supply, U256::from(1_000_000_000) * U256::from(10).pow(U256::from(18)));
    }
}
