//! One budget for keys, values and adapters, and who gives way when it is short.
//!
//! ```text
//! budget = pages of running answers + cached prefixes + adapters (in use, pinned, idle) + free
//!                                     └── may go, oldest first ──┘ └──────────────┘
//! ```
//!
//! **Invariant:** what a running answer reads, keys, values or adapter, never goes.

use std::sync::Arc;

use crate::{
    adapter_id::AdapterId,
    pages::{PAGE_TOKENS, PageId, PagePool, pages_of},
    prefix_cache::{NodeId, PrefixCache, Scope},
    residency::{Presence, Residency},
};

/// The pages of one running sequence, in order.
#[derive(Debug)]
pub(crate) struct BlockTable {
    scope: Arc<Scope>,
    pages: Vec<PageId>,
    /// The cached ones among them: the first so many.
    chain: Vec<NodeId>,
}

impl BlockTable {
    /// The pages.
    pub(crate) fn pages(&self) -> &[PageId] {
        &self.pages
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Memory {
    pool: PagePool,
    prefixes: PrefixCache,
    adapters: Residency,
    now: u64,
    evicted: Vec<AdapterId>,
}

impl Memory {
    /// All free.
    pub(crate) fn new(budget_pages: usize) -> Self {
        Self {
            pool: PagePool::new(budget_pages),
            prefixes: PrefixCache::default(),
            adapters: Residency::default(),
            now: 0,
            evicted: Vec::new(),
        }
    }

    /// Begins the next step. Time is counted in steps.
    pub(crate) fn tick(&mut self) {
        self.now += 1;
    }

    /// Counts of pages.
    pub(crate) fn pool(&self) -> &PagePool {
        &self.pool
    }

    /// Counts of cached pages.
    pub(crate) fn prefixes(&self) -> &PrefixCache {
        &self.prefixes
    }

    /// Which adapters are in memory.
    pub(crate) fn adapters(&self) -> &Residency {
        &self.adapters
    }

    /// Pages that a sequence could take now, if everything idle gave way.
    pub(crate) fn available(&self) -> usize {
        self.pool.room() + self.prefixes.idle_pages() + self.adapters.idle_pages()
    }

    /// Begins a sequence that will read `tokens`: its table covers what is cached of them, but never the
    /// last token, which must be read for its logits. Returns the table and the tokens it holds.
    ///
    /// All adapters of the blend must be loaded; they are held until [`Self::end`].
    pub(crate) fn begin(&mut self, scope: &Arc<Scope>, tokens: &[u32]) -> (BlockTable, usize) {
        for (adapter, _) in scope.blend.iter() {
            self.adapters.hold(*adapter, self.now);
        }
        let readable = &tokens[..tokens.len().saturating_sub(1)];
        let found = self.prefixes.find(&mut self.pool, scope, readable);
        let (chain, pages): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let held = pages.len() * PAGE_TOKENS;
        (BlockTable { scope: Arc::clone(scope), pages, chain }, held)
    }

    /// Takes pages until the table covers `tokens`. Returns how many it covers: fewer if what runs
    /// leaves no room.
    pub(crate) fn cover(&mut self, table: &mut BlockTable, tokens: usize) -> usize {
        while table.pages.len() < pages_of(tokens) && self.make_room(1, u64::MAX) {
            table.pages.extend(self.pool.take());
        }
        tokens.min(table.pages.len() * PAGE_TOKENS)
    }

    /// Caches the pages that became full. `tokens`: all that the table holds.
    pub(crate) fn filled(&mut self, table: &mut BlockTable, tokens: &[u32]) {
        let (full, _) = tokens.as_chunks::<PAGE_TOKENS>();
        let BlockTable { scope, pages, chain } = table;
        let new = chain.len()..full.len();
        for (tokens, page) in full[new.clone()].iter().zip(&mut pages[new]) {
            let last = chain.last().copied();
            let (node, cached) = self.prefixes.insert(&mut self.pool, scope, last, *tokens, *page);
            *page = cached;
            chain.push(node);
        }
    }

    /// Ends a sequence: its pages and adapters are no longer held by it.
    pub(crate) fn end(&mut self, table: BlockTable) {
        for page in &table.pages[table.chain.len()..] {
            self.pool.release(*page);
        }
        for node in &table.chain {
            self.prefixes.release(&mut self.pool, *node, self.now);
        }
        for (adapter, _) in table.scope.blend.iter() {
            self.adapters.release(*adapter, self.now);
        }
    }

    /// Forgets all cached prefixes that nobody uses. Returns how many pages, the lowest ones, hold all that is
    /// left.
    pub(crate) fn forget_prefixes(&mut self) -> usize {
        while self.prefixes.evict(&mut self.pool) {}
        self.pool.forget_free_end()
    }

    /// Makes room for an adapter and charges it. What this step's requests need is not evicted for it.
    /// Returns false if there is no room now.
    pub(crate) fn begin_load(&mut self, id: AdapterId, pages: usize) -> bool {
        let fits = self.make_room(pages, self.now) && self.pool.charge(pages);
        if fits {
            self.adapters.begin(id, pages, self.now);
        }
        fits
    }

    /// Notes the arrival of an adapter with its true size. Returns false, and forgets it, if the room
    /// that was set aside does not suffice and more cannot be had.
    pub(crate) fn finish_load(&mut self, id: AdapterId, pages: usize, load_micros: u64) -> bool {
        let set_aside = self.adapters.pages(id).expect("loading has begun");
        let more = pages.saturating_sub(set_aside);
        if !(self.make_room(more, self.now) && self.pool.charge(more)) {
            self.fail_load(id);
            return false;
        }
        self.pool.discharge((set_aside + more) - pages);
        self.adapters.finish(id, pages, load_micros);
        true
    }

    /// Notes that an adapter did not arrive.
    pub(crate) fn fail_load(&mut self, id: AdapterId) {
        let pages = self.adapters.fail(id);
        self.pool.discharge(pages);
    }

    /// Keeps an adapter that a waiting request needs.
    pub(crate) fn touch(&mut self, id: AdapterId) {
        self.adapters.touch(id, self.now);
    }

    /// Pins or unpins an adapter; see [`Residency::set_pinned`].
    pub(crate) fn set_pinned(&mut self, id: AdapterId, pinned: bool) -> bool {
        self.adapters.set_pinned(id, pinned)
    }

    /// Lets one adapter go; see [`Residency::unload`].
    pub(crate) fn unload(&mut self, id: AdapterId) -> bool {
        let gone = self.adapters.unload(&mut self.pool, id);
        if gone {
            self.evicted.push(id);
        }
        gone
    }

    /// Whether one adapter is in memory.
    pub(crate) fn presence(&self, id: AdapterId) -> Presence {
        self.adapters.presence(id)
    }

    /// Adapters that went since the last call: the engine drops their bytes.
    pub(crate) fn take_evicted(&mut self) -> Vec<AdapterId> {
        std::mem::take(&mut self.evicted)
    }

    /// Lets cached prefixes and idle adapters go, those first whose time comes first, until `pages`
    /// pages are free. Adapters used since `before` stay. Nothing goes if it would not suffice.
    fn make_room(&mut self, pages: usize, before: u64) -> bool {
        let idle = self.prefixes.idle_pages() + self.adapters.idle_pages_before(before);
        if pages > self.pool.room() + idle {
            return false;
        }
        while self.pool.room() < pages {
            let adapter = self.adapters.oldest(before);
            let prefix = self.prefixes.oldest();
            let adapter_first = match (adapter, prefix) {
                (Some(adapter), Some(prefix)) => adapter < prefix,
                (adapter, _) => adapter.is_some(),
            };
            if adapter_first {
                self.evicted.extend(self.adapters.evict(&mut self.pool, before));
            } else if !self.prefixes.evict(&mut self.pool) {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
