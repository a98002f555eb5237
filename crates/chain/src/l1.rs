//! Where L2 blocks take their L1 origin from.

use alloy_primitives::{B256, keccak256};

/// What an L2 block needs to know of the L1 block that it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct L1Origin {
    pub(crate) number: u64,
    pub(crate) hash: B256,
    pub(crate) timestamp: u64,
    pub(crate) base_fee: u64,
    pub(crate) blob_base_fee: u128,
    /// Randomness of the L1 block; `PREVRANDAO` on L2.
    pub(crate) prev_randao: B256,
    pub(crate) parent_beacon_block_root: B256,
    /// How many L2 blocks with this origin came before this one.
    pub(crate) sequence_number: u64,
}

/// Chooses L1 origins. Another implementation follows a real L1 and also hands over its deposits.
pub(crate) trait L1Source: Send {
    /// The origin of the L2 block at `timestamp`.
    fn origin(&self, timestamp: u64) -> L1Origin;
}

/// An imaginary L1 that is a function of the chain id and the time: one block every
/// [`EmbeddedL1::BLOCK_TIME_S`], constant fees, no deposits.
#[derive(Clone, Debug)]
pub(crate) struct EmbeddedL1 {
    chain_id: u64,
    genesis_timestamp: u64,
}

impl EmbeddedL1 {
    /// Seconds between L1 blocks, as on Ethereum.
    const BLOCK_TIME_S: u64 = 12;
    /// 1 gwei: what a calm L1 costs. A chain whose fee scalars are zero charges nothing for it.
    const BASE_FEE: u64 = 1_000_000_000;
    /// The least that blobs cost, 1 wei.
    const BLOB_BASE_FEE: u128 = 1;

    pub(crate) fn new(chain_id: u64, genesis_timestamp: u64) -> Self {
        Self { chain_id, genesis_timestamp }
    }

    fn digest(&self, what: &str, number: u64) -> B256 {
        keccak256(format!("openledger embedded l1/{}/{what}/{number}", self.chain_id))
    }
}

impl L1Source for EmbeddedL1 {
    fn origin(&self, timestamp: u64) -> L1Origin {
        let elapsed = timestamp.saturating_sub(self.genesis_timestamp);
        let number = elapsed / Self::BLOCK_TIME_S;
        L1Origin {
            number,
            hash: self.digest("block", number),
            timestamp: self.genesis_timestamp + number * Self::BLOCK_TIME_S,
            base_fee: Self::BASE_FEE,
            blob_base_fee: Self::BLOB_BASE_FEE,
            prev_randao: self.digest("randao", number),
            parent_beacon_block_root: self.digest("beacon", number),
            sequence_number: elapsed % Self::BLOCK_TIME_S,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_never_younger_than_its_block_and_sequence_numbers_count_from_zero() {
        let l1 = EmbeddedL1::new(1, 1_000);
        let mut last = l1.origin(1_000);
        assert_eq!((last.number, last.sequence_number), (0, 0));
        for timestamp in 1_001..1_100 {
            let origin = l1.origin(timestamp);
            assert!(origin.timestamp <= timestamp);
            if origin.number == last.number {
                assert_eq!(origin.sequence_number, last.sequence_number + 1);
                assert_eq!(origin.hash, last.hash);
            } else {
                assert_eq!((origin.number, origin.sequence_number), (last.number + 1, 0));
                assert_ne!(origin.hash, last.hash);
            }
            last = origin;
        }
    }
}
