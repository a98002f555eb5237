use alloy_primitives::B256;

/// 128 random bits from the operating system.
pub(crate) fn u128() -> u128 {
    let bytes = hash();
    u128::from_be_bytes(bytes[..16].try_into().expect("16 of 32 bytes"))
}

/// 256 random bits from the operating system.
pub(crate) fn hash() -> B256 {
    B256::random()
}
