//! A chain whose blocks were made elsewhere, for the conformance runner.

use std::sync::{Arc, PoisonError};

use alloy_consensus::Header;

use super::{Chain, blocks::Blocks};
use crate::{
    execution::{BuiltBlock, SealedBlock},
    state::StateDiff,
};

impl Chain {
    /// Puts `header` in the place of block 0. There must be no other block yet.
    pub(crate) fn replace_genesis(&mut self, header: Header) {
        assert_eq!(self.head().number(), 0, "only an empty chain can begin differently");
        let block = Arc::new(SealedBlock::new(header, Vec::new(), Vec::new()));
        self.genesis_hash = block.hash;
        self.world.record_hash(0, block.hash);
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        inner.blocks = Blocks::new(block);
    }

    /// Adds the next block and what it did to the state, in memory only.
    ///
    /// Errors: a description, if the state does not have the root that the header names.
    pub(crate) fn import(&self, block: SealedBlock, diff: StateDiff) -> Result<(), String> {
        let number = block.number();
        let root = self.world.apply(number, &diff);
        if root != block.header.state_root {
            return Err(format!("state root of block {number}"));
        }
        self.world.record_hash(number, block.hash);
        let state = self.world.view(number).map_err(|error| format!("{error:?}"))?;
        // Recent blocks are read from memory, never from this offset.
        self.publish(vec![BuiltBlock { block, state, diff }], &[0]);
        Ok(())
    }
}
