//! Pages of memory under one budget, counted by how many hold them.
//!
//! A page keeps the keys and values of [`PAGE_TOKENS`] positions of one sequence, in every layer.
//! Adapters stand in the same budget: they are charged in pages, so keys and values may grow when few
//! adapters are hot, and the reverse. Only counts live here; the numbers themselves are the model's.
//!
//! **Invariant:** pages in use and pages charged never exceed the budget together.
//! **Invariant:** a page is free exactly when nobody holds it.

use std::{cmp::Reverse, collections::BinaryHeap};

pub use openledger_model::serving::{PAGE_TOKENS, PageId};

/// Pages that hold `tokens` tokens.
pub(crate) const fn pages_of(tokens: usize) -> usize {
    tokens.div_ceil(PAGE_TOKENS)
}

/// Which pages are held, and by how many.
#[derive(Debug)]
pub(crate) struct PagePool {
    budget: usize,
    /// Holders of every page that was ever given out.
    holders: Vec<u32>,
    /// Pages nobody holds. The lowest goes first, so that memory touched once is used again.
    free: BinaryHeap<Reverse<u32>>,
    charged: usize,
}

impl PagePool {
    /// A pool of `budget` pages, all free.
    pub(crate) fn new(budget: usize) -> Self {
        assert!(u32::try_from(budget).is_ok(), "page ids are 32 bits wide");
        let (holders, free) = (Vec::new(), BinaryHeap::new());
        Self { budget, holders, free, charged: 0 }
    }

    /// Pages in all.
    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    /// Pages somebody holds.
    pub(crate) fn in_use(&self) -> usize {
        self.holders.len() - self.free.len()
    }

    /// Pages that adapters are charged with.
    pub(crate) fn charged(&self) -> usize {
        self.charged
    }

    /// Pages that can still be taken or charged.
    pub(crate) fn room(&self) -> usize {
        self.budget - self.in_use() - self.charged
    }

    /// A page with one holder, or `None` if there is no room.
    pub(crate) fn take(&mut self) -> Option<PageId> {
        if self.room() == 0 {
            return None;
        }
        let page = match self.free.pop() {
            Some(Reverse(page)) => page,
            None => {
                self.holders.push(0);
                u32::try_from(self.holders.len() - 1).expect("no more pages than the budget")
            }
        };
        self.holders[page as usize] = 1;
        Some(PageId(page))
    }

    /// One more holder for a page that is held.
    pub(crate) fn share(&mut self, page: PageId) {
        let holders = &mut self.holders[page.0 as usize];
        assert!(*holders > 0, "a free page cannot be shared");
        *holders += 1;
    }

    /// One holder fewer. Returns whether the page is free now.
    pub(crate) fn release(&mut self, page: PageId) -> bool {
        let holders = &mut self.holders[page.0 as usize];
        assert!(*holders > 0, "a free page cannot be released");
        *holders -= 1;
        let free = *holders == 0;
        if free {
            self.free.push(Reverse(page.0));
        }
        free
    }

    /// Forgets the free pages above the highest that is held. Returns how many pages are known then.
    pub(crate) fn forget_free_end(&mut self) -> usize {
        while self.holders.last() == Some(&0) {
            self.holders.pop();
        }
        let known = self.holders.len();
        self.free.retain(|Reverse(page)| (*page as usize) < known);
        known
    }

    /// Charges `pages` for an adapter. Returns false, and charges nothing, if there is no room.
    pub(crate) fn charge(&mut self, pages: usize) -> bool {
        let fits = pages <= self.room();
        if fits {
            self.charged += pages;
        }
        fits
    }

    /// Takes a charge back.
    pub(crate) fn discharge(&mut self, pages: usize) {
        assert!(pages <= self.charged, "no more is taken back than was charged");
        self.charged -= pages;
    }
}
