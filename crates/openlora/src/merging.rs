//! Which blend nearly all work is for, and the copy of the base with that blend merged in.
//!
//! ```text
//! rows of every step ─▶ window ─▶ a blend has nearly all of them ─▶ merged in a thread of its own ─▶ copy
//!                          └────▶ the merged one has much less ───▶ let go; its answers finish with it
//! ```
//!
//! A copy saves the products of its adapters, but a step with rows inside and outside of it reads two sets of
//! weights. So it pays only where hardly anything else is asked (dLoRA, OSDI 2024, merges and unmerges by the
//! same reasoning); `bench/serving merged` measures where.
//!
//! An answer is read to its end with the weights it began with, so that its bits never change under way.
//!
//! **Invariant:** copies, those that old answers still read included, take at most the budget.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak, mpsc},
    thread,
};

use crate::{loader_pool::AdapterLoader, prefix_cache::Blend};

/// Sequences in the steps of a window.
pub(crate) const WINDOW_ROWS: usize = 4096;

/// Of 64 rows in a window those from which a blend is merged, and below which it is let go again.
const MERGE_FROM: usize = 63;
const KEEP_FROM: usize = 56;
const OF: usize = 64;

/// Adapters of a blend with their weights.
type Adapters<L> = Vec<(Arc<<L as AdapterLoader>::Adapter>, f32)>;

/// See the module.
pub(crate) struct Merging<L: AdapterLoader> {
    budget: usize,
    loader: Arc<L>,
    /// Rows of each blend since the window began, the base alone included.
    window: HashMap<Blend, usize>,
    rows: usize,
    copy: Option<(Blend, Arc<L::Merged>)>,
    /// Every copy that may still be read, and its size.
    copies: Vec<(Weak<L::Merged>, usize)>,
    under_way: Option<UnderWay<L::Merged>>,
    /// A blend that cannot be merged.
    refused: Option<Blend>,
    made: u64,
}

/// What a thread is merging.
struct UnderWay<W> {
    blend: Blend,
    bytes: usize,
    result: mpsc::Receiver<Result<Arc<W>, String>>,
    wanted: bool,
}

impl<L: AdapterLoader> Merging<L> {
    /// With `budget` bytes for copies; none are made with 0.
    pub(crate) fn new(budget: usize, loader: Arc<L>) -> Self {
        Self {
            budget,
            loader,
            window: HashMap::new(),
            rows: 0,
            copy: None,
            copies: Vec::new(),
            under_way: None,
            refused: None,
            made: 0,
        }
    }

    /// The copy that a new answer with this blend reads, if there is one.
    pub(crate) fn copy_of(&mut self, blend: &Blend) -> Option<Arc<L::Merged>> {
        self.take_done();
        self.copy.as_ref().filter(|(of, _)| of == blend).map(|(_, copy)| Arc::clone(copy))
    }

    /// Counts a sequence in a step. Its adapters are looked up when the blend is to be merged.
    pub(crate) fn count(
        &mut self,
        blend: &Blend,
        adapters: impl FnOnce(&Blend) -> Option<Adapters<L>>,
    ) {
        if self.budget == 0 {
            return;
        }
        *self.window.entry(Arc::clone(blend)).or_default() += 1;
        self.rows += 1;
        if self.rows >= WINDOW_ROWS {
            self.decide(adapters);
            self.window.clear();
            self.rows = 0;
        }
    }

    /// Lets copies of such blends go; answers that read them keep them to their end.
    pub(crate) fn let_go(&mut self, of: impl Fn(&Blend) -> bool) {
        self.take_done();
        if self.copy.as_ref().is_some_and(|(blend, _)| of(blend)) {
            self.copy = None;
        }
        if let Some(under_way) = &mut self.under_way {
            under_way.wanted &= !of(&under_way.blend);
        }
    }

    /// Memory of all copies that are read or may be.
    pub(crate) fn bytes(&self) -> usize {
        let read = self.copies.iter().filter(|(copy, _)| copy.strong_count() > 0);
        read.map(|(_, bytes)| bytes).sum()
    }

    /// Copies made so far.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    fn decide(&mut self, adapters: impl FnOnce(&Blend) -> Option<Adapters<L>>) {
        self.take_done();
        let share = |blend: &Blend| self.window.get(blend).copied().unwrap_or(0) * OF;
        if self.copy.as_ref().is_some_and(|(blend, _)| share(blend) < KEEP_FROM * self.rows) {
            self.copy = None;
        }
        let most = self.window.keys().find(|blend| share(blend) >= MERGE_FROM * self.rows);
        let Some(blend) = most.filter(|blend| !blend.is_empty()).cloned() else { return };
        let merged = self.copy.as_ref().is_some_and(|(of, _)| *of == blend);
        if merged || self.under_way.is_some() || self.refused.as_ref() == Some(&blend) {
            return;
        }
        let Some(adapters) = adapters(&blend) else { return };
        let bytes = self.loader.merged_bytes(&adapters);
        if bytes > self.budget {
            let budget = self.budget;
            tracing::info!(bytes, budget, "a merged copy of the model would exceed its budget");
            self.refused = Some(blend);
        } else if self.bytes() + bytes <= self.budget {
            self.begin(blend, adapters, bytes);
        }
    }

    fn begin(&mut self, blend: Blend, adapters: Adapters<L>, bytes: usize) {
        let (done, result) = mpsc::channel();
        let loader = Arc::clone(&self.loader);
        let work = move || {
            let merge = AssertUnwindSafe(|| loader.merge(&adapters).map(Arc::new));
            let merged = catch_unwind(merge)
                .unwrap_or_else(|_| Err("merging it failed unexpectedly".to_owned()));
            // The engine may have stopped meanwhile.
            drop(done.send(merged));
        };
        let thread = thread::Builder::new().name("openlora-merge".to_owned());
        thread.spawn(work).expect("the system starts threads");
        self.under_way = Some(UnderWay { blend, bytes, result, wanted: true });
    }

    /// Takes a copy that is ready.
    fn take_done(&mut self) {
        self.copies.retain(|(copy, _)| copy.strong_count() > 0);
        let result = self.under_way.as_ref().and_then(|under_way| under_way.result.try_recv().ok());
        let Some(merged) = result else { return };
        let UnderWay { blend, bytes, wanted, .. } =
            self.under_way.take().expect("it has just given its result");
        match merged {
            Ok(copy) if wanted => {
                self.copies.push((Arc::downgrade(&copy), bytes));
                self.copy = Some((blend, copy));
                self.made += 1;
            }
            Ok(_) => {}
            Err(why) => {
                tracing::warn!(why, "a blend could not be merged into the base");
                self.refused = Some(blend);
            }
        }
    }
}

#[cfg(test)]
mod tests;
