//! What only a development chain does: accounts edited outside any transaction, time moved ahead.
//!
//! An edit is part of the block that is being made and of its state diff, so it is durable and survives
//! a restart like everything else. No L1 could derive such a block, so a chain that settles refuses.

use std::{sync::Arc, time::Duration};

use alloy_primitives::Address;

use super::{Opened, Producer};
use crate::{Error, execution::Edit};

/// What only a development chain does.
pub(crate) enum DevAction {
    /// Changes an account.
    Edit(Address, Edit),
    /// Lets the next block come this many seconds later, and keeps the clock there.
    SkipTime(u64),
    /// Gives the next block this timestamp, which must be after the latest one's.
    NextTimestamp(u64),
    /// Undoes the blocks after this one, and drops what waits.
    Rewind(u64),
}

/// What becomes of the open block after an action.
pub(super) enum Then {
    /// It is sealed, so that the change is part of the latest state.
    Seal,
    /// It goes, with the blocks after this one.
    Rewind(u64),
    /// The action concerns the next block: what is in this one is sealed, or it is opened anew.
    Reopen,
}

impl Producer {
    pub(super) fn act(&mut self, action: DevAction, opened: &Opened) -> Then {
        match action {
            DevAction::Edit(address, edit) => {
                opened.block.overlay().edit(address, edit);
                Then::Seal
            }
            DevAction::SkipTime(seconds) => {
                self.reschedule(opened, self.consumed(opened) + seconds);
                Then::Reopen
            }
            DevAction::NextTimestamp(timestamp) => {
                let open = opened.block.header().timestamp;
                let soonest =
                    if opened.block.is_empty() { open - self.consumed(opened) } else { open + 1 };
                self.reschedule(opened, timestamp.saturating_sub(soonest));
                Then::Reopen
            }
            DevAction::Rewind(number) => Then::Rewind(number),
        }
    }

    /// Undoes the blocks after block `number`: on disk first, so that a crash leaves the shorter chain.
    pub(super) fn rewind(&mut self, number: u64) -> Result<(), Error> {
        let refused = |reason: String| Error::Internal(format!("cannot go back: {reason}"));
        let chain = Arc::clone(&self.chain);
        let head = chain.block(number).map_err(|error| refused(error.to_string()))?;
        let head = head.ok_or_else(|| refused(format!("there is no block {number}")))?;
        // Checked before anything is cut.
        drop(chain.state(number).map_err(|missing| refused(format!("{missing:?}")))?);
        if let Some(offset) = chain.log_offset(number + 1) {
            self.log.rewind(offset, number).map_err(|error| refused(error.to_string()))?;
        }
        chain.rewind(head).map_err(|missing| refused(format!("{missing:?}")))?;
        self.skip = 0;
        let head = Duration::from_secs(self.chain.head().header.timestamp);
        self.ahead = head.saturating_sub(self.clock.now());
        Ok(())
    }

    /// What an open block that nobody will miss has left out already.
    fn consumed(&self, opened: &Opened) -> u64 {
        if opened.block.is_empty() {
            opened.block.header().timestamp - opened.tip.block.header.timestamp - 1
        } else {
            0
        }
    }

    fn reschedule(&mut self, opened: &Opened, skip: u64) {
        self.skip = skip;
        let before = Duration::from_secs(self.consumed(opened));
        self.ahead = (self.ahead + Duration::from_secs(skip)).saturating_sub(before);
    }
}
