//! Which past blocks can be read.
//!
//! Blocks leave the window when there are too many of them or they take too much memory. A block
//! that somebody reads stays until the reader has gone, but no new reader is let in.

use std::collections::{BTreeMap, VecDeque};

/// How much of the past is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HistoryLimits {
    /// Past blocks, beside the latest.
    pub(crate) blocks: u64,
    /// Bytes that their differences may take, by estimate.
    pub(crate) bytes: u64,
}

/// Why a past state is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoState {
    /// The chain has not come that far.
    Unknown,
    /// It was forgotten; the oldest that is kept is this one.
    Pruned { oldest: u64 },
}

/// The blocks that can be read.
#[derive(Debug)]
pub(super) struct Window {
    limits: HistoryLimits,
    head: u64,
    oldest: u64,
    /// What each block after the oldest takes, in bytes.
    costs: VecDeque<u64>,
    bytes: u64,
    /// Readers by block.
    readers: BTreeMap<u64, usize>,
}

impl Window {
    pub(super) fn new(head: u64, limits: HistoryLimits) -> Self {
        let (costs, readers) = (VecDeque::new(), BTreeMap::new());
        Self { limits, head, oldest: head, costs, bytes: 0, readers }
    }

    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// The oldest block that new readers are let in to.
    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Past blocks that are kept at most.
    pub(super) fn blocks_max(&self) -> u64 {
        self.limits.blocks
    }

    /// Lets a reader of block `number` in.
    pub(super) fn enter(&mut self, number: u64) -> Result<(), NoState> {
        if number > self.head {
            return Err(NoState::Unknown);
        }
        if number < self.oldest {
            return Err(NoState::Pruned { oldest: self.oldest });
        }
        *self.readers.entry(number).or_default() += 1;
        Ok(())
    }

    /// A reader of block `number` has gone.
    pub(super) fn leave(&mut self, number: u64) {
        if let Some(readers) = self.readers.get_mut(&number) {
            *readers -= 1;
            if *readers == 0 {
                self.readers.remove(&number);
            }
        }
    }

    /// Blocks after `number`, which is in the window, are not there any more.
    pub(super) fn rewind(&mut self, number: u64) {
        while self.head > number {
            self.head -= 1;
            self.bytes -= self.costs.pop_back().unwrap_or_default();
        }
    }

    /// The next block is there, and its differences take `bytes`. Returns the oldest block that must
    /// still be readable.
    pub(super) fn advance(&mut self, bytes: u64) -> u64 {
        self.head += 1;
        self.costs.push_back(bytes);
        self.bytes += bytes;
        while self.costs.len() as u64 > self.limits.blocks || self.bytes > self.limits.bytes {
            let Some(bytes) = self.costs.pop_front() else { break };
            self.bytes -= bytes;
            self.oldest += 1;
        }
        let read = self.readers.first_key_value().map(|(number, _)| *number);
        read.map_or(self.oldest, |read| read.min(self.oldest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_leave_by_number_and_by_bytes_but_not_under_a_reader() {
        let mut window = Window::new(10, HistoryLimits { blocks: 2, bytes: 100 });
        assert_eq!(window.enter(11), Err(NoState::Unknown));
        assert_eq!((window.advance(40), window.advance(40)), (10, 10));
        assert_eq!(window.advance(10), 11);
        assert_eq!(window.enter(10), Err(NoState::Pruned { oldest: 11 }));
        window.enter(11).unwrap();
        assert_eq!(window.advance(95), 11, "a reader holds it");
        assert_eq!(window.enter(12), Err(NoState::Pruned { oldest: 13 }), "105 bytes are too many");
        window.leave(11);
        assert_eq!(window.advance(500), 15, "one block alone is over the limit");
        assert_eq!(window.head(), 15);
        window.enter(15).unwrap();
    }
}
