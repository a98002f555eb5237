//! Who is served next: the tenant that was given least so far.
//!
//! The length of an answer is not known when its request is queued, so tenants are not charged in
//! advance: each has a counter of the tokens computed for it, and the lowest counter goes first. One that
//! was away comes back with at least the counter it would have had to wait behind; absence saves nothing
//! up. Source: virtual token counters, arXiv 2401.00588, algorithm 2.
//!
//! **Invariant:** of two tenants that both wait all the time, neither is ever ahead by more than what one
//! full batch can owe it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::sequence::SequenceId;

/// Counters that are remembered of tenants that are away.
const AWAY_MAX: usize = 4096;

#[derive(Debug, Default)]
struct Tenant {
    /// Tokens computed for it, raised to the floor when it comes back.
    served: u64,
    /// Oldest first.
    waiting: VecDeque<SequenceId>,
    running: usize,
}

impl Tenant {
    fn is_away(&self) -> bool {
        self.waiting.is_empty() && self.running == 0
    }
}

/// All tenants and what waits of each.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    by_name: BTreeMap<Arc<str>, Tenant>,
    /// No tenant comes back with less than this.
    floor: u64,
    waiting: usize,
}

impl Tenants {
    /// Requests that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Tokens counted for a tenant.
    #[cfg(test)]
    pub(crate) fn served(&self, tenant: &str) -> u64 {
        self.by_name.get(tenant).map_or(0, |tenant| tenant.served)
    }

    /// Puts a request among those of its tenant, by age.
    pub(crate) fn wait(&mut self, name: &Arc<str>, id: SequenceId) {
        let floor = self.floor;
        let tenant = self.by_name.entry(Arc::clone(name)).or_default();
        if tenant.is_away() {
            tenant.served = tenant.served.max(floor);
        }
        let at = tenant.waiting.partition_point(|other| *other < id);
        tenant.waiting.insert(at, id);
        self.waiting += 1;
    }

    /// Takes a request out of the queue to run.
    pub(crate) fn run(&mut self, name: &str, id: SequenceId) {
        self.take(name, id);
        self.tenant(name).running += 1;
    }

    /// Puts a running request back into the queue.
    pub(crate) fn stop(&mut self, name: &Arc<str>, id: SequenceId) {
        self.wait(name, id);
        self.tenant(name).running -= 1;
    }

    /// A waiting request left.
    pub(crate) fn leave_queue(&mut self, name: &str, id: SequenceId) {
        self.take(name, id);
        self.left(name);
    }

    /// A running request ended.
    pub(crate) fn end(&mut self, name: &str) {
        self.tenant(name).running -= 1;
        self.left(name);
    }

    /// Counts tokens for a tenant.
    pub(crate) fn charge(&mut self, name: &str, tokens: usize) {
        self.tenant(name).served += tokens as u64;
        let present = self.by_name.values().filter(|tenant| !tenant.is_away());
        if let Some(least) = present.map(|tenant| tenant.served).min() {
            self.floor = self.floor.max(least);
        }
    }

    /// Tenants with waiting requests and their counters, and the requests of each, oldest first.
    pub(crate) fn queues(&self) -> Vec<(u64, Arc<str>, Vec<SequenceId>)> {
        let waiting = self.by_name.iter().filter(|(_, tenant)| !tenant.waiting.is_empty());
        let queue = |(name, tenant): (&Arc<str>, &Tenant)| {
            (tenant.served, Arc::clone(name), tenant.waiting.iter().copied().collect())
        };
        waiting.map(queue).collect()
    }

    /// For the order of prompts that are being read.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.by_name[name].served
    }

    fn take(&mut self, name: &str, id: SequenceId) {
        let waiting = &mut self.tenant(name).waiting;
        let at = waiting.binary_search(&id).expect("it waits");
        waiting.remove(at);
        self.waiting -= 1;
    }

    fn tenant(&mut self, name: &str) -> &mut Tenant {
        self.by_name.get_mut(name).expect("a tenant with requests is known")
    }

    fn left(&mut self, name: &str) {
        let tenant = &self.by_name[name];
        if !tenant.is_away() {
            return;
        }
        if self.by_name.values().all(Tenant::is_away) {
            self.floor = self.floor.max(tenant.served);
        }
        let floor = self.floor;
        self.by_name.retain(|_, tenant| !tenant.is_away() || tenant.served > floor);
        if self.by_name.len() > AWAY_MAX {
            self.by_name.retain(|_, tenant| !tenant.is_away());
        }
    }
}
