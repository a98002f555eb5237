//! Addresses that the OP Stack fixes.

use alloy_primitives::{Address, address};

/// In whose name the protocol calls its contracts.
pub(crate) const DEPOSITOR: Address = address!("0xDeaDDEaDDeAdDeAdDEAdDEaddeAddEAdDEAd0001");
/// A predeploy, by the end of its address.
pub(crate) const fn predeploy(suffix: u16) -> Address {
    in_namespace(address!("0x4200000000000000000000000000000000000000"), suffix)
}

/// Where the implementation behind that predeploy's proxy is.
pub(crate) const fn implementation(suffix: u16) -> Address {
    in_namespace(address!("0xc0D3C0d3C0d3C0D3c0d3C0d3c0D3C0d3c0d30000"), suffix)
}

const fn in_namespace(base: Address, suffix: u16) -> Address {
    let mut bytes = base.0.0;
    [bytes[18], bytes[19]] = suffix.to_be_bytes();
    Address::new(bytes)
}

/// Accounts that once deployed a system contract. Their nonce is past that deployment, so that an
/// upgrade that deploys it again changes nothing: EIP-4788, EIP-2935.
pub(crate) const SYSTEM_DEPLOYERS: [Address; 2] = [
    address!("0x0B799C86a49DEeb90402691F1041aa3AF2d3C875"),
    address!("0x3462413Af4609098e1E27A490f554f260213D685"),
];
