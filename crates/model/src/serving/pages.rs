//! The pages that hold the keys and values of all sequences.

use super::SequenceStep;
use crate::DecoderConfig;
use openledger_tensor::{KvForm, PagedKv};

/// Number of a page. Page p holds [`PAGE_TOKENS`](crate::serving::PAGE_TOKENS) positions of one sequence in
/// every layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(pub u32);

/// Which pages a step writes: finds a page that two sequences would write, or one write and another read.
///
/// Whoever keeps pages elsewhere than in [`KvPages`] has claims of its own.
#[derive(Debug)]
pub struct PageClaims {
    /// For each page the last step that wrote to it.
    written: Vec<u64>,
    steps: u64,
}

impl PageClaims {
    /// For so many pages.
    pub fn new(pages: usize) -> Self {
        Self { written: vec![0; pages], steps: 0 }
    }

    /// Pages there are.
    pub fn pages(&self) -> usize {
        self.written.len()
    }

    /// Begins a step.
    pub(crate) fn begin(&mut self) {
        self.steps += 1;
    }

    /// Whether a page exists.
    pub(crate) fn has(&self, page: PageId) -> bool {
        (page.0 as usize) < self.written.len()
    }

    /// Claims a page for writing in this step; false if it is claimed already.
    pub(crate) fn claim(&mut self, page: PageId) -> bool {
        std::mem::replace(&mut self.written[page.0 as usize], self.steps) != self.steps
    }

    /// Whether a page is claimed for writing in this step.
    pub(crate) fn is_claimed(&self, page: PageId) -> bool {
        self.written[page.0 as usize] == self.steps
    }
}

/// Keys and values of all layers, in pages. Who owns which page is the caller's affair.
#[derive(Debug)]
pub struct KvPages {
    pub(crate) kv: PagedKv,
    pub(crate) claims: PageClaims,
}

impl KvPages {
    /// `pages` pages for models of this shape. Takes memory as pages are asked for, the lowest first.
    pub fn new(config: &DecoderConfig, form: KvForm, pages: usize) -> Self {
        let kv = PagedKv::new(config.heads(), config.num_hidden_layers, form, pages);
        Self { kv, claims: PageClaims::new(pages) }
    }

    /// Bytes of one page.
    pub fn page_bytes(config: &DecoderConfig, form: KvForm) -> usize {
        PagedKv::page_bytes(config.heads(), config.num_hidden_layers, form)
    }

    /// Pages there are.
    pub fn pages(&self) -> usize {
        self.kv.pages()
    }

    /// How keys and values are kept.
    pub fn form(&self) -> KvForm {
        self.kv.form()
    }

    /// Gives the memory of all pages but the first `pages` back to the system. What they held is lost.
    pub fn give_back(&mut self, pages: usize) {
        self.kv.give_back(pages);
    }

    /// Pages that there is memory for.
    pub fn pages_taken(&self) -> usize {
        self.kv.pages_taken()
    }

    /// Takes memory for every page of a batch, also what is only read: it may be a page that was never written.
    pub(super) fn reach(&mut self, batch: &[SequenceStep<'_>]) {
        let highest = batch.iter().flat_map(|step| step.pages).map(|page| page.0 as usize + 1);
        self.kv.reach(highest.max().unwrap_or(0).min(self.kv.pages()));
    }
}
