//! The block that is being made, as readers of the `pending` tag see it.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use alloy_primitives::{B256, U256, map::B256Map};
use op_revm::{L1BlockInfo, OpSpecId};

use crate::execution::{OpenBlock, Overlay, SealedBlock};

/// The block that is being made. What is in it is pre-confirmed: it will be in the next block unless
/// the node stops before.
pub(crate) struct Pending {
    number: u64,
    overlay: Overlay,
    /// L1 and operator fees in this block.
    pub(crate) l1_block: L1BlockInfo,
    content: RwLock<Content>,
}

/// What the block holds so far.
pub(crate) struct Content {
    /// Its header has no roots, no bloom, and no hash.
    pub(crate) block: SealedBlock,
    by_hash: B256Map<usize>,
}

impl Pending {
    pub(crate) fn new(open: &OpenBlock) -> Self {
        let block = SealedBlock {
            header: open.header().clone(),
            hash: B256::ZERO,
            txs: Vec::new(),
            receipts: Vec::new(),
        };
        let mut overlay = open.overlay().clone();
        let number = block.number();
        let Ok(l1_block) =
            L1BlockInfo::try_fetch(&mut overlay, U256::from(number), OpSpecId::ISTHMUS);
        let content = RwLock::new(Content { block, by_hash: B256Map::default() });
        let pending = Self { number, overlay, l1_block, content };
        pending.extend(open);
        pending
    }

    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The state inside the block. It goes on changing; see [`Overlay::frozen`].
    pub(crate) fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// Shows what has been executed since the last time.
    pub(crate) fn extend(&self, open: &OpenBlock) {
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        let Content { block, by_hash } = &mut *content;
        let shown = block.txs.len();
        for (index, tx) in open.txs().iter().enumerate().skip(shown) {
            by_hash.insert(tx.inner().tx_hash(), index);
        }
        block.txs.extend_from_slice(&open.txs()[shown..]);
        block.receipts.extend_from_slice(&open.receipts()[shown..]);
        block.header.gas_used =
            block.receipts.last().map_or(0, |last| last.as_receipt().cumulative_gas_used);
    }

    /// What the block holds so far. Not to be held for long: the block cannot grow meanwhile.
    pub(crate) fn content(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    /// Where the transaction with this hash is in the block.
    pub(crate) fn index(&self, hash: B256) -> Option<usize> {
        self.by_hash.get(&hash).copied()
    }
}
