//! A model for tests that notices every mistake: a token's logits follow from all tokens and adapters
//! that its pages say were read, and a page remembers who wrote it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use crate::{
    model::{Model, Step},
    pages::{PAGE_TOKENS, PageId},
};

pub(crate) const VOCABULARY: usize = 11;
pub(crate) const CONTEXT: usize = 256;
/// The model refuses a step with this adapter.
pub(crate) const REFUSED: u64 = 66;
/// Pages of a fake model.
pub(crate) const PAGES: usize = 64;

/// Stands for an adapter. Says how many there are.
#[derive(Debug)]
pub(crate) struct FakeAdapter(pub(crate) u64, Arc<AtomicI64>);

impl FakeAdapter {
    pub(crate) fn new(number: u64) -> Self {
        Self::counted(number, &Arc::default())
    }

    pub(crate) fn counted(number: u64, live: &Arc<AtomicI64>) -> Self {
        live.fetch_add(1, Ordering::Relaxed);
        Self(number, Arc::clone(live))
    }
}

impl Drop for FakeAdapter {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Stands for a copy of the base with a blend merged in. Says how many there are.
#[derive(Debug)]
pub(crate) struct FakeMerged {
    blend: Vec<(u64, f32)>,
    live: Arc<AtomicI64>,
}

impl FakeMerged {
    pub(crate) fn new(blend: &[(Arc<FakeAdapter>, f32)], live: &Arc<AtomicI64>) -> Self {
        live.fetch_add(1, Ordering::Relaxed);
        let blend = blend.iter().map(|(adapter, weight)| (adapter.0, *weight)).collect();
        Self { blend, live: Arc::clone(live) }
    }
}

impl Drop for FakeMerged {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct FakeModel {
    /// What was written at a place, and under which blend.
    written: HashMap<(PageId, usize), (u64, u32)>,
}

/// The most likely token after `tokens` under a blend.
pub(crate) fn next_token(blend: &[(u64, f32)], tokens: &[u32]) -> u32 {
    likeliest(&logits(blend_hash(blend.iter().copied()), tokens))
}

fn likeliest(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).expect("not empty");
    best.0 as u32
}

/// The whole greedy answer to a prompt.
pub(crate) fn answer(blend: &[(u64, f32)], prompt: &[u32], tokens: usize) -> Vec<u32> {
    let mut all = prompt.to_vec();
    for _ in 0..tokens {
        all.push(next_token(blend, &all));
    }
    all.split_off(prompt.len())
}

/// The whole greedy answer of a copy with a blend merged in: another one, so that the two are told apart.
pub(crate) fn merged_answer(blend: &[(u64, f32)], prompt: &[u32], tokens: usize) -> Vec<u32> {
    let mut all = prompt.to_vec();
    for _ in 0..tokens {
        all.push(likeliest(&logits(merged_hash(blend), &all)));
    }
    all.split_off(prompt.len())
}

fn merged_hash(blend: &[(u64, f32)]) -> u64 {
    !blend_hash(blend.iter().copied())
}

fn blend_hash(blend: impl Iterator<Item = (u64, f32)>) -> u64 {
    let mut hasher = DefaultHasher::new();
    blend.for_each(|(adapter, weight)| (adapter, weight.to_bits()).hash(&mut hasher));
    hasher.finish()
}

fn logits(blend: u64, tokens: &[u32]) -> Vec<f32> {
    let logit = |token: u32| {
        let mut hasher = DefaultHasher::new();
        (blend, tokens, token).hash(&mut hasher);
        (hasher.finish() >> 40) as f32 / 1e6
    };
    (0..VOCABULARY as u32).map(logit).collect()
}

impl Model for FakeModel {
    type Adapter = FakeAdapter;
    type Merged = FakeMerged;

    fn vocabulary(&self) -> usize {
        VOCABULARY
    }

    fn context(&self) -> usize {
        CONTEXT
    }

    fn pages(&self) -> usize {
        PAGES
    }

    fn page_bytes(&self) -> usize {
        1024
    }

    fn step(
        &mut self,
        batch: &[Step<'_, FakeAdapter, FakeMerged>],
    ) -> Result<Vec<Option<Vec<f32>>>, String> {
        if batch.iter().any(|step| step.adapters.iter().any(|(adapter, _)| adapter.0 == REFUSED)) {
            return Err("an adapter of another shape".to_owned());
        }
        let blend = |step: &Step<'_, FakeAdapter, FakeMerged>| match step.merged {
            Some(merged) => {
                assert!(step.adapters.is_empty(), "its adapters are merged in");
                merged_hash(&merged.blend)
            }
            None => blend_hash(step.adapters.iter().map(|(adapter, weight)| (adapter.0, *weight))),
        };
        // All are written before any is read, as a real step does layer by layer.
        for step in batch {
            for (position, token) in (step.before..).zip(step.tokens) {
                let page = step.pages[position / PAGE_TOKENS];
                self.written.insert((page, position % PAGE_TOKENS), (blend(step), *token));
            }
        }
        let read = |step: &Step<'_, FakeAdapter, FakeMerged>| {
            let blend = blend(step);
            let mut tokens = Vec::new();
            for position in 0..step.before + step.tokens.len() {
                let place = (step.pages[position / PAGE_TOKENS], position % PAGE_TOKENS);
                match self.written.get(&place) {
                    Some((writer, token)) if *writer == blend => tokens.push(*token),
                    other => return Err(format!("position {position} holds {other:?}")),
                }
            }
            Ok(step.logits_wanted.then(|| logits(blend, &tokens)))
        };
        batch.iter().map(read).collect()
    }
}
