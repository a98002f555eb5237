//! Filters that clients have installed over HTTP, where nothing can be pushed to them.

use std::{collections::HashMap, ops::RangeInclusive, time::Instant};

use alloy_primitives::U64;
use alloy_rpc_types_eth::Filter;
use tokio::sync::broadcast;

use super::limits::{FILTER_IDLE_MAX, FILTERS_MAX};
use crate::chain::Event;

/// What a filter looks for.
pub(super) enum Kind {
    Blocks,
    Logs(Box<Filter>),
    Transactions(broadcast::Receiver<Event>),
}

/// What there is for a filter since it was last asked.
pub(super) enum Changes {
    Blocks(RangeInclusive<u64>),
    Logs(Box<Filter>, RangeInclusive<u64>),
    Transactions(Vec<Event>),
}

struct Installed {
    kind: Kind,
    next_block: u64,
    asked: Instant,
}

/// Installed filters by id.
#[derive(Default)]
pub(super) struct Filters {
    installed: HashMap<U64, Installed>,
    last_id: u64,
}

impl Filters {
    /// Installs a filter that looks from `next_block` on; `None` if there are too many.
    pub(super) fn install(&mut self, kind: Kind, next_block: u64) -> Option<U64> {
        self.installed.retain(|_, filter| filter.asked.elapsed() < FILTER_IDLE_MAX);
        if self.installed.len() >= FILTERS_MAX {
            return None;
        }
        self.last_id += 1;
        let id = U64::from(self.last_id);
        self.installed.insert(id, Installed { kind, next_block, asked: Instant::now() });
        Some(id)
    }

    /// Removes a filter; whether there was one.
    pub(super) fn remove(&mut self, id: U64) -> bool {
        self.installed.remove(&id).is_some()
    }

    /// The query of a log filter.
    pub(super) fn logs(&mut self, id: U64) -> Option<Box<Filter>> {
        let filter = self.installed.get_mut(&id)?;
        filter.asked = Instant::now();
        match &filter.kind {
            Kind::Logs(query) => Some(query.clone()),
            _ => None,
        }
    }

    /// What there is since the last time, up to block `head`.
    pub(super) fn changes(&mut self, id: U64, head: u64) -> Option<Changes> {
        let filter = self.installed.get_mut(&id)?;
        filter.asked = Instant::now();
        let range = filter.next_block..=head;
        filter.next_block = head + 1;
        Some(match &mut filter.kind {
            Kind::Blocks => Changes::Blocks(range),
            Kind::Logs(query) => Changes::Logs(query.clone(), range),
            Kind::Transactions(events) => {
                let mut arrived = Vec::new();
                loop {
                    match events.try_recv() {
                        Ok(event) => arrived.push(event),
                        // Some were missed; go on with the oldest that is left.
                        Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                        Err(_) => break,
                    }
                }
                Changes::Transactions(arrived)
            }
        })
    }
}
