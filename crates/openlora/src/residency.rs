//! Which adapters are in memory, which are on their way, and which goes first when room is needed.
//!
//! Pure: adapters are numbers with a size here; the bytes are held by the engine.
//!
//! **Invariant:** an adapter that a running answer uses, or that was pinned, stays.
//! **Invariant:** every adapter known here is charged to the pool with its pages, from the moment its
//! loading begins.

use std::collections::{BTreeSet, HashMap};

use crate::{adapter_id::AdapterId, pages::PagePool};

/// Most steps by which the cost of loading can lengthen an adapter's stay.
const CREDIT_STEPS_MAX: u64 = 4096;

/// Uses that count towards an adapter's credit; older ones fade as the number is halved with each load.
const USES_MAX: u64 = 64;

/// Cost of loading that is worth one step of stay, per page and use.
const LOAD_MICROS_PER_STEP: u64 = 200;

#[derive(Debug)]
struct Entry {
    pages: usize,
    loaded: bool,
    pinned: bool,
    users: usize,
    last_used: u64,
    uses: u64,
    load_micros: u64,
}

impl Entry {
    /// When it may go: GreedyDual-Size-Frequency with time in steps (Cherkasova 1998): last use + uses ·
    /// cost / size.
    fn stays_until(&self) -> u64 {
        let credit =
            self.uses * (self.load_micros / LOAD_MICROS_PER_STEP) / self.pages.max(1) as u64;
        self.last_used + credit.min(CREDIT_STEPS_MAX)
    }

    fn is_idle(&self) -> bool {
        self.loaded && !self.pinned && self.users == 0
    }
}

/// State of an adapter that a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Not in memory.
    Absent,
    /// On its way.
    Loading,
    /// Ready to be used.
    Loaded,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Residency {
    entries: HashMap<AdapterId, Entry>,
    /// Those that may go, first the one to go first.
    idle: BTreeSet<(u64, AdapterId)>,
    idle_pages: usize,
    pinned_pages: usize,
    loading: usize,
    evictions: u64,
}

impl Residency {
    /// Whether an adapter can be used now.
    pub(crate) fn presence(&self, id: AdapterId) -> Presence {
        match self.entries.get(&id) {
            None => Presence::Absent,
            Some(entry) if entry.loaded => Presence::Loaded,
            Some(_) => Presence::Loading,
        }
    }

    /// Adapters in memory.
    pub(crate) fn loaded(&self) -> usize {
        self.entries.len() - self.loading
    }

    /// Adapters on their way.
    pub(crate) fn loading(&self) -> usize {
        self.loading
    }

    /// Pages that eviction could give back.
    pub(crate) fn idle_pages(&self) -> usize {
        self.idle_pages
    }

    /// Those of them whose adapters were not used since `before`.
    pub(crate) fn idle_pages_before(&self, before: u64) -> usize {
        if before == u64::MAX {
            return self.idle_pages;
        }
        let entries = self.idle.iter().map(|(_, id)| &self.entries[id]);
        entries.filter(|entry| entry.last_used < before).map(|entry| entry.pages).sum()
    }

    /// Pages of pinned adapters.
    pub(crate) fn pinned_pages(&self) -> usize {
        self.pinned_pages
    }

    /// Whether an adapter is in memory to stay.
    pub(crate) fn is_pinned(&self, id: AdapterId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.pinned)
    }

    /// Pages of one adapter, if it is in memory or on its way.
    pub(crate) fn pages(&self, id: AdapterId) -> Option<usize> {
        self.entries.get(&id).map(|entry| entry.pages)
    }

    /// Evictions so far.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    /// When the adapter that would go first may go, if one was not used since `before`.
    pub(crate) fn oldest(&self, before: u64) -> Option<u64> {
        self.victim(before).map(|(stays_until, _)| stays_until)
    }

    fn victim(&self, before: u64) -> Option<(u64, AdapterId)> {
        let unused = |id: &AdapterId| self.entries[id].last_used < before;
        self.idle.iter().find(|(_, id)| unused(id)).copied()
    }

    /// Notes that loading has begun; `pages` were charged by the caller.
    pub(crate) fn begin(&mut self, id: AdapterId, pages: usize, now: u64) {
        let entry = Entry {
            pages,
            loaded: false,
            pinned: false,
            users: 0,
            last_used: now,
            uses: 1,
            load_micros: 0,
        };
        let before = self.entries.insert(id, entry);
        assert!(before.is_none(), "an adapter is loaded once");
        self.loading += 1;
    }

    /// Notes that an adapter is ready, with its true size, which the caller has charged.
    pub(crate) fn finish(&mut self, id: AdapterId, pages: usize, load_micros: u64) {
        let entry = self.entries.get_mut(&id).expect("loading has begun");
        assert!(!entry.loaded, "an adapter arrives once");
        (entry.loaded, entry.pages, entry.load_micros) = (true, pages, load_micros);
        self.loading -= 1;
        self.enter_idle(id);
    }

    /// Notes that loading failed. Returns the pages to take back.
    pub(crate) fn fail(&mut self, id: AdapterId) -> usize {
        let entry = self.entries.remove(&id).expect("loading has begun");
        assert!(!entry.loaded && entry.users == 0, "it never arrived");
        self.loading -= 1;
        entry.pages
    }

    /// Begins a use by a running answer.
    pub(crate) fn hold(&mut self, id: AdapterId, now: u64) {
        self.leave_idle(id);
        let entry = self.entries.get_mut(&id).expect("only loaded adapters are used");
        assert!(entry.loaded, "only loaded adapters are used");
        entry.users += 1;
        entry.last_used = now;
        entry.uses = (entry.uses + 1).min(USES_MAX);
    }

    /// Ends a use.
    pub(crate) fn release(&mut self, id: AdapterId, now: u64) {
        let entry = self.entries.get_mut(&id).expect("an adapter in use is in memory");
        assert!(entry.users > 0, "an adapter is released as often as it is held");
        entry.users -= 1;
        entry.last_used = now;
        self.enter_idle(id);
    }

    /// Keeps an adapter that a waiting request needs from going before it was used.
    pub(crate) fn touch(&mut self, id: AdapterId, now: u64) {
        if self.entries.contains_key(&id) {
            self.leave_idle(id);
            self.entries.entry(id).and_modify(|entry| entry.last_used = now);
            self.enter_idle(id);
        }
    }

    /// Pins an adapter that is in memory, or frees it of the pin. Returns whether it is in memory.
    pub(crate) fn set_pinned(&mut self, id: AdapterId, pinned: bool) -> bool {
        if self.presence(id) != Presence::Loaded {
            return false;
        }
        self.leave_idle(id);
        let entry = self.entries.get_mut(&id).expect("it is in memory");
        match (entry.pinned, pinned) {
            (false, true) => self.pinned_pages += entry.pages,
            (true, false) => self.pinned_pages -= entry.pages,
            _ => {}
        }
        entry.pinned = pinned;
        self.enter_idle(id);
        true
    }

    /// Lets the adapter go that is worth least, if one was not used since `before`.
    pub(crate) fn evict(&mut self, pool: &mut PagePool, before: u64) -> Option<AdapterId> {
        let (_, id) = self.victim(before)?;
        self.forget(pool, id);
        self.evictions += 1;
        Some(id)
    }

    /// Lets one adapter go if nothing holds it. Returns whether it went.
    pub(crate) fn unload(&mut self, pool: &mut PagePool, id: AdapterId) -> bool {
        let idle = self.entries.get(&id).is_some_and(Entry::is_idle);
        if idle {
            self.forget(pool, id);
        }
        idle
    }

    fn forget(&mut self, pool: &mut PagePool, id: AdapterId) {
        self.leave_idle(id);
        let entry = self.entries.remove(&id).expect("idle adapters are known");
        pool.discharge(entry.pages);
    }

    fn enter_idle(&mut self, id: AdapterId) {
        let entry = &self.entries[&id];
        if entry.is_idle() && self.idle.insert((entry.stays_until(), id)) {
            self.idle_pages += entry.pages;
        }
    }

    fn leave_idle(&mut self, id: AdapterId) {
        let Some(entry) = self.entries.get(&id) else { return };
        if self.idle.remove(&(entry.stays_until(), id)) {
            self.idle_pages -= entry.pages;
        }
    }
}
