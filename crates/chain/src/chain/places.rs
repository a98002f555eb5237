//! Where transactions are, in little memory: sixteen bytes for each that was ever included.

use std::collections::HashMap;

use alloy_primitives::B256;
use foldhash::fast::RandomState;

use crate::storage::{IndexEntry, tx_prefix};

/// Where a transaction may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TxPlace {
    pub(super) block: u64,
    pub(super) index: usize,
}

/// Bits of a packed place that name the transaction within its block.
const INDEX_BITS: u32 = 24;

impl TxPlace {
    fn pack(self) -> u64 {
        assert!(self.block >> (64 - INDEX_BITS) == 0, "the block number fits");
        assert!(self.index >> INDEX_BITS == 0, "a block's gas bounds its transactions");
        (self.block << INDEX_BITS) | self.index as u64
    }

    fn unpack(packed: u64) -> Self {
        let index = packed & ((1 << INDEX_BITS) - 1);
        Self { block: packed >> INDEX_BITS, index: usize::try_from(index).expect("24 bits") }
    }
}

/// Places of transactions by the first bytes of their hashes. Whoever looks one up must compare the
/// whole hash.
#[derive(Default)]
pub(super) struct Places {
    first: HashMap<u64, u64, RandomState>,
    /// Places of further transactions whose hashes begin alike.
    further: HashMap<u64, Vec<u64>, RandomState>,
}

impl Places {
    /// Adds the transactions of block `number`.
    pub(super) fn add(&mut self, number: u64, entry: &IndexEntry) {
        for (index, prefix) in entry.tx_prefixes().enumerate() {
            let place = TxPlace { block: number, index }.pack();
            let first = *self.first.entry(prefix).or_insert(place);
            if first != place {
                self.further.entry(prefix).or_default().push(place);
            }
        }
    }

    /// Where the transaction with this hash may be.
    pub(super) fn candidates(&self, hash: &B256) -> Vec<TxPlace> {
        let prefix = tx_prefix(hash);
        let further = self.further.get(&prefix).into_iter().flatten();
        self.first.get(&prefix).into_iter().chain(further).map(|p| TxPlace::unpack(*p)).collect()
    }
}

#[cfg(test)]
mod tests {
    use alloy_consensus::{Header, Sealable, transaction::Recovered};
    use alloy_primitives::Address;
    use op_alloy_consensus::{OpTxEnvelope, TxDeposit};

    use super::*;
    use crate::execution::SealedBlock;

    fn entry(tags: &[u8]) -> (IndexEntry, Vec<B256>) {
        let txs = tags.iter().map(|tag| {
            let deposit = TxDeposit { source_hash: B256::repeat_byte(*tag), ..Default::default() };
            Recovered::new_unchecked(OpTxEnvelope::Deposit(deposit.seal_slow()), Address::ZERO)
        });
        let block = SealedBlock::new(Header::default(), txs.collect(), Vec::new());
        let hashes = block.txs.iter().map(|tx| tx.inner().tx_hash()).collect();
        (IndexEntry::of(&block, 52), hashes)
    }

    #[test]
    fn hashes_that_begin_alike_are_all_found() {
        let mut places = Places::default();
        let (first, hashes) = entry(&[1, 2, 3]);
        places.add(7, &first);
        let (again, _) = entry(&[9, 2]);
        places.add((1 << 40) - 1, &again);
        let one = TxPlace { block: 7, index: 1 };
        let other = TxPlace { block: (1 << 40) - 1, index: 1 };
        let mut alike = hashes[1];
        alike[31] ^= 1;
        for hash in [hashes[1], alike] {
            assert_eq!(places.candidates(&hash), [one, other]);
        }
        assert_eq!(places.candidates(&hashes[2]), [TxPlace { block: 7, index: 2 }]);
        assert!(places.candidates(&B256::ZERO).is_empty());
    }
}
