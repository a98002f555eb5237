//! Contracts of others that tools expect at the same address on every chain.
//!
//! Their addresses and code are literals in a Solidity library of the npm package, which this reads:
//! `address internal constant Name = 0x…;` and `bytes internal constant NameCode = hex"…";`.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U64, U256, address, hex, keccak256};
use alloy_sol_types::SolValue;
use eyre::{ContextCompat, Result, ensure};

use crate::{
    addresses::SYSTEM_DEPLOYERS,
    alloc::{Account, Alloc},
    inputs::Inputs,
};

const PERMIT2: Address = address!("0x000000000022D473030F116dDEE9F6B43aC78BA3");
/// Where Permit2's runtime code has its chain id and its EIP-712 domain.
const PERMIT2_CHAIN_ID_AT: usize = 6_945;
const PERMIT2_DOMAIN_AT: usize = 6_983;
/// The opcode before each of them.
const PUSH32: u8 = 0x7f;
/// The node has the EIP-4788 contract from alloy.
const NOT_OURS: &str = "BeaconBlockRoots";

/// The preinstalls' accounts on chain `chain_id`.
pub(crate) fn alloc(chain_id: u64, inputs: &mut Inputs) -> Result<Alloc> {
    let source = inputs.preinstalls()?;
    let mut alloc = Alloc::new();
    let codes = codes(&source)?;
    for (name, address) in addresses(&source)? {
        let code = match codes.get(name) {
            Some(code) => code.clone(),
            None if address == PERMIT2 => permit2(
                codes.get("Permit2Template").wrap_err("there is no template of Permit2")?,
                chain_id,
            )?,
            // An account that deploys.
            None => continue,
        };
        if name != NOT_OURS {
            alloc.insert(address, Account::contract(code));
        }
    }
    ensure!(alloc.len() >= 11, "only {} preinstalls were found", alloc.len());
    for deployer in SYSTEM_DEPLOYERS {
        alloc.insert(deployer, Account { nonce: U64::ONE, ..Account::default() });
    }
    Ok(alloc)
}

fn addresses(source: &str) -> Result<BTreeMap<&str, Address>> {
    let found = source.split("address internal constant ").skip(1).map(|rest| {
        let (name, rest) = rest.split_once(" = ").wrap_err("an address without a value")?;
        let (value, _) = rest.split_once(';').wrap_err("an address without an end")?;
        Ok((name, value.parse()?))
    });
    found.collect()
}

fn codes(source: &str) -> Result<BTreeMap<&str, Bytes>> {
    let found = source.split("bytes internal constant ").skip(1).map(|rest| {
        let (name, rest) = rest.split_once("Code =").wrap_err("code without a name")?;
        let (_, rest) = rest.split_once("hex\"").wrap_err("code that is not hexadecimal")?;
        let (code, _) = rest.split_once('"').wrap_err("code without an end")?;
        Ok((name, hex::decode(code)?.into()))
    });
    found.collect()
}

/// Permit2 keeps its chain id and its domain in the code.
fn permit2(template: &[u8], chain_id: u64) -> Result<Bytes> {
    let mut code = template.to_vec();
    let mut patch = |at: usize, word: B256| -> Result<()> {
        let place = code.get_mut(at..at + 32).wrap_err("the template of Permit2 is too short")?;
        place.copy_from_slice(word.as_slice());
        ensure!(code[at - 1] == PUSH32, "the template of Permit2 has no constant at {at}");
        Ok(())
    };
    patch(PERMIT2_CHAIN_ID_AT, U256::from(chain_id).into())?;
    patch(PERMIT2_DOMAIN_AT, permit2_domain(chain_id))?;
    Ok(code.into())
}

/// The EIP-712 domain separator of Permit2.
pub(crate) fn permit2_domain(chain_id: u64) -> B256 {
    let type_hash =
        keccak256("EIP712Domain(string name,uint256 chainId,address verifyingContract)");
    keccak256((type_hash, keccak256("Permit2"), U256::from(chain_id), PERMIT2).abi_encode())
}
