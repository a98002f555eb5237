//! Full pages of earlier sequences, found again by what they were computed from.
//!
//! The keys and values of a page follow from the adapters and from all tokens up to its end, and from
//! nothing else; so a page is found by its predecessor in the chain and by its own tokens. Keys are
//! compared whole: no collision can give one asker another's context.
//!
//! Whoever finds a page learns that it was there: the first token comes sooner. So a page is found only by
//! those who may learn of each other's prompts, its [`Readers`].
//!
//! **Invariant:** a page whose successor is cached is cached too; leaves are evicted first.
//! **Invariant:** a page that a sequence uses is never evicted.

use std::collections::{BTreeSet, HashMap};
use std::{cmp::Reverse, sync::Arc};

use crate::{
    adapter_id::AdapterId,
    pages::{PAGE_TOKENS, PageId, PagePool},
};

/// The adapters of a sequence with the bits of their weights; empty is the base alone.
pub(crate) type Blend = Arc<[(AdapterId, u32)]>;

/// Who may find a page again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Readers {
    /// This tenant alone; nothing is everybody.
    pub(crate) tenant: Option<Arc<str>>,
    /// Only those who send the same.
    pub(crate) salt: Option<Arc<str>>,
}

/// What all pages of a chain have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    pub(crate) blend: Blend,
    /// Whether the blend was merged into the weights: then the keys and values are others.
    pub(crate) merged: bool,
    pub(crate) readers: Readers,
}

/// A cached page. Numbers are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(u64);

/// What comes before a page.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Before {
    Nothing(Arc<Scope>),
    Page(NodeId),
}

type Key = (Before, [u32; PAGE_TOKENS]);

#[derive(Debug)]
struct Node {
    key: Key,
    page: PageId,
    /// Pages before it in its chain.
    depth: usize,
    /// Sequences that use it.
    users: usize,
    /// Cached pages that follow it.
    followers: usize,
    last_used: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct PrefixCache {
    nodes: HashMap<NodeId, Node>,
    by_key: HashMap<Key, NodeId>,
    /// Nodes nobody uses, first the one to be evicted first.
    idle: BTreeSet<(u64, Reverse<usize>, NodeId)>,
    next: u64,
}

impl PrefixCache {
    /// Cached pages that no sequence uses.
    pub(crate) fn idle_pages(&self) -> usize {
        self.idle.len()
    }

    /// Cached pages.
    #[cfg(test)]
    pub(crate) fn pages(&self) -> usize {
        self.nodes.len()
    }

    /// When the page that would be evicted next was used last.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.idle.first().map(|(last_used, _, _)| *last_used)
    }

    /// The longest cached beginning of `tokens` in whole pages, each held for the caller.
    pub(crate) fn find(
        &mut self,
        pool: &mut PagePool,
        scope: &Arc<Scope>,
        tokens: &[u32],
    ) -> Vec<(NodeId, PageId)> {
        let mut before = Before::Nothing(Arc::clone(scope));
        let mut found = Vec::new();
        for page in tokens.as_chunks::<PAGE_TOKENS>().0 {
            let Some(id) = self.by_key.get(&(before, *page)).copied() else { break };
            found.push((id, self.hold(pool, id)));
            before = Before::Page(id);
        }
        found
    }

    /// Caches a page that has become full. `last` is the chain's last cached page.
    ///
    /// The caller's hold on `page` becomes a hold on the page that is returned: the same one, or, where
    /// another sequence cached the same content first, that one.
    pub(crate) fn insert(
        &mut self,
        pool: &mut PagePool,
        scope: &Arc<Scope>,
        last: Option<NodeId>,
        tokens: [u32; PAGE_TOKENS],
        page: PageId,
    ) -> (NodeId, PageId) {
        let before = last.map_or_else(|| Before::Nothing(Arc::clone(scope)), Before::Page);
        let key = (before, tokens);
        if let Some(id) = self.by_key.get(&key).copied() {
            pool.release(page);
            return (id, self.hold(pool, id));
        }
        let id = NodeId(self.next);
        self.next += 1;
        let depth = last.map_or(0, |last| {
            let last = self.nodes.get_mut(&last).expect("the chain is cached while it is used");
            last.followers += 1;
            last.depth + 1
        });
        // The cache's own hold.
        pool.share(page);
        let node = Node { key: key.clone(), page, depth, users: 1, followers: 0, last_used: 0 };
        self.nodes.insert(id, node);
        self.by_key.insert(key, id);
        (id, page)
    }

    /// Ends a sequence's use of a cached page at `now`.
    pub(crate) fn release(&mut self, pool: &mut PagePool, id: NodeId, now: u64) {
        let node = self.nodes.get_mut(&id).expect("a page in use is cached");
        assert!(node.users > 0, "a page is released as often as it is held");
        node.users -= 1;
        pool.release(node.page);
        if node.users == 0 {
            node.last_used = now;
            self.idle.insert((now, Reverse(node.depth), id));
        }
    }

    /// Forgets the page that was unused for longest. Returns whether there was one.
    pub(crate) fn evict(&mut self, pool: &mut PagePool) -> bool {
        let Some((_, _, id)) = self.idle.pop_first() else { return false };
        let node = self.nodes.remove(&id).expect("idle pages are cached");
        assert!(node.followers == 0, "leaves are evicted first");
        self.by_key.remove(&node.key);
        if let Before::Page(before) = node.key.0 {
            let before = self.nodes.get_mut(&before).expect("what comes before is cached");
            before.followers -= 1;
        }
        assert!(pool.release(node.page), "nobody else held it");
        true
    }

    fn hold(&mut self, pool: &mut PagePool, id: NodeId) -> PageId {
        let node = self.nodes.get_mut(&id).expect("keys lead to cached pages");
        if node.users == 0 {
            self.idle.remove(&(node.last_used, Reverse(node.depth), id));
        }
        node.users += 1;
        pool.share(node.page);
        node.page
    }
}
