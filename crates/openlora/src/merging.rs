//! Which blend nearly all work is for, and the copy of the base with that blend merged in.
//!
//! ```text
//! steps ─▶ window ─▶ nearly all were for one blend alone ─▶ merged in a thread of its own ─▶ copy
//!             └────▶ fewer were for the merged one alone ─▶ let go; its answers finish with it
//! ```
//!
//! A copy saves the products of its adapters, but a step with sequences inside and outside of it reads two sets
//! of weights: `bench/serving merged` shows up to a fifth less time for a step of the one kind, and up to four
//! fifths more for one of the other. So what is counted is steps in which nothing else was asked (dLoRA, OSDI
//! 2024, weighs the same).
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

/// Steps of a window.
pub(crate) const WINDOW_STEPS: usize = 1024;
/// Steps of a window for one blend alone from which it is merged.
const MERGE_FROM: usize = WINDOW_STEPS * 15 / 16;
/// Those below which it is let go again: about what saves as much as the others cost.
const KEEP_FROM: usize = WINDOW_STEPS * 3 / 4;

/// Adapters of a blend with their weights.
type Adapters<L> = Vec<(Arc<<L as AdapterLoader>::Adapter>, f32)>;

/// See the module.
pub(crate) struct Merging<L: AdapterLoader> {
    budget: usize,
    loader: Arc<L>,
    /// Steps for each blend alone since the window began.
    window: HashMap<Blend, usize>,
    steps: usize,
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
            steps: 0,
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

    /// Counts a step, and the blend that it was for alone. Its adapters are looked up when it is to be merged.
    pub(crate) fn count(
        &mut self,
        alone: Option<&Blend>,
        adapters: impl FnOnce(&Blend) -> Option<Adapters<L>>,
    ) {
        if self.budget == 0 {
            return;
        }
        if let Some(blend) = alone {
            *self.window.entry(Arc::clone(blend)).or_default() += 1;
        }
        self.steps += 1;
        if self.steps == WINDOW_STEPS {
            self.decide(adapters);
            self.window.clear();
            self.steps = 0;
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
        let steps = |blend: &Blend| self.window.get(blend).copied().unwrap_or(0);
        if self.copy.as_ref().is_some_and(|(blend, _)| steps(blend) < KEEP_FROM) {
            self.copy = None;
        }
        let most = self.window.keys().find(|blend| steps(blend) >= MERGE_FROM);
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
