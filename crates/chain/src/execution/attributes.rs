//! The L1 attributes deposit: the first transaction of every block.

use alloy_primitives::{Address, Bytes, Sealable, TxKind, U256, address};
use op_alloy_consensus::{L1InfoDepositSource, OpTxEnvelope, TxDeposit};

use crate::{genesis::L1FeeScalars, l1::L1Origin};

/// The account in whose name the attributes are set.
pub(super) const DEPOSITOR: Address = address!("0xDeaDDEaDDeAdDeAdDEAdDEaddeAddEAdDEAd0001");
/// The predeploy that keeps them.
const L1_BLOCK: Address = address!("0x4200000000000000000000000000000000000015");
/// Gas that the deposit may use (Regolith).
const DEPOSIT_GAS: u64 = 1_000_000;
/// Selector of `setL1BlockValuesIsthmus()`.
const SELECTOR: [u8; 4] = [0x09, 0x89, 0x99, 0xbe];
/// Selector and packed fields.
const CALLDATA_BYTES: usize = 176;

/// The deposit for a block whose L1 origin is `origin`.
pub(super) fn l1_attributes_deposit(
    origin: &L1Origin,
    fees: &L1FeeScalars,
    batcher: Address,
) -> OpTxEnvelope {
    let source = L1InfoDepositSource::new(origin.hash, origin.sequence_number);
    let deposit = TxDeposit {
        source_hash: source.source_hash(),
        from: DEPOSITOR,
        to: TxKind::Call(L1_BLOCK),
        mint: 0,
        value: U256::ZERO,
        gas_limit: DEPOSIT_GAS,
        is_system_transaction: false,
        input: calldata(origin, fees, batcher),
    };
    OpTxEnvelope::Deposit(deposit.seal_slow())
}

/// Packed as the Isthmus specification has it: big-endian, no padding but that of the hashes.
fn calldata(origin: &L1Origin, fees: &L1FeeScalars, batcher: Address) -> Bytes {
    let mut data = Vec::with_capacity(CALLDATA_BYTES);
    data.extend_from_slice(&SELECTOR);
    data.extend_from_slice(&fees.base_fee_scalar.to_be_bytes());
    data.extend_from_slice(&fees.blob_base_fee_scalar.to_be_bytes());
    data.extend_from_slice(&origin.sequence_number.to_be_bytes());
    data.extend_from_slice(&origin.timestamp.to_be_bytes());
    data.extend_from_slice(&origin.number.to_be_bytes());
    data.extend_from_slice(&U256::from(origin.base_fee).to_be_bytes::<32>());
    data.extend_from_slice(&U256::from(origin.blob_base_fee).to_be_bytes::<32>());
    data.extend_from_slice(origin.hash.as_slice());
    data.extend_from_slice(batcher.into_word().as_slice());
    data.extend_from_slice(&fees.operator_fee_scalar.to_be_bytes());
    data.extend_from_slice(&fees.operator_fee_constant.to_be_bytes());
    assert_eq!(data.len(), CALLDATA_BYTES, "the Isthmus attributes have a fixed length");
    data.into()
}

#[cfg(test)]
mod tests {
    use alloy_primitives::keccak256;

    use super::*;
    use crate::l1::{EmbeddedL1, L1Source};

    #[test]
    fn the_selector_is_that_of_the_isthmus_setter() {
        assert_eq!(keccak256("setL1BlockValuesIsthmus()")[..4], SELECTOR);
    }

    #[test]
    fn the_calldata_is_packed_as_specified() {
        let origin = EmbeddedL1::new(7, 100).origin(125);
        let fees = L1FeeScalars {
            base_fee_scalar: 1,
            blob_base_fee_scalar: 2,
            operator_fee_scalar: 3,
            operator_fee_constant: 4,
        };
        let data = calldata(&origin, &fees, Address::repeat_byte(0xbb));
        assert_eq!(data.len(), 176);
        assert_eq!(data[4..8], 1u32.to_be_bytes());
        assert_eq!(data[8..12], 2u32.to_be_bytes());
        assert_eq!(data[12..20], 1u64.to_be_bytes(), "sequence number");
        assert_eq!(data[20..28], 124u64.to_be_bytes(), "time");
        assert_eq!(data[28..36], 2u64.to_be_bytes(), "number");
        assert_eq!(data[100..132], origin.hash[..]);
        assert_eq!(data[144..164], [0xbb; 20]);
        assert_eq!(data[164..168], 3u32.to_be_bytes());
        assert_eq!(data[168..176], 4u64.to_be_bytes());
    }
}
