//! What a step is asked to do, checked and laid out in rows.

use super::{PAGE_TOKENS, PageClaims, PageId, ServingAdapter};
use crate::{DecoderConfig, Error};
use std::ops::Range;
use std::sync::Arc;

/// Most adapters of one blend.
pub const BLEND_MAX: usize = 8;

/// New tokens of one sequence.
#[derive(Clone, Copy, Debug)]
pub struct SequenceStep<'a> {
    /// New tokens: a piece of the prompt, or the one just generated.
    pub tokens: &'a [u32],
    /// Tokens of this sequence that are in its pages already.
    pub before: usize,
    /// Block table: pages of positions 0..16, 16..32, …; covers `before + tokens.len()` positions.
    pub pages: &'a [PageId],
    /// Blend of adapters with their weights: empty for the base alone, one of weight 1 as a rule.
    pub adapters: &'a [(Arc<ServingAdapter>, f32)],
    /// Whether the logits after the last token are wanted: not for all but the last piece of a prompt.
    pub logits_wanted: bool,
}

/// Neighbouring rows with the same blend.
#[derive(Clone, Debug)]
pub struct BlendRows<'a> {
    /// Which.
    pub rows: Range<usize>,
    /// The adapters of each and their weights, at least one.
    pub adapters: &'a [(Arc<ServingAdapter>, f32)],
}

/// One sequence of a batch.
#[derive(Debug)]
pub struct SequenceRows {
    /// Its new rows.
    pub rows: Range<usize>,
    /// Positions before the first of them.
    pub before: usize,
    /// The pages up to its last row, no more.
    pub pages: Vec<u32>,
}

/// The rows of a step, checked: what a decoder of another kind than [`ServingDecoder`](super::ServingDecoder)
/// starts from.
#[derive(Debug, Default)]
pub struct BatchRows<'a> {
    /// Token of each row.
    pub tokens: Vec<u32>,
    /// Its position in its sequence.
    pub positions: Vec<u32>,
    /// The sequences, in order of their rows.
    pub sequences: Vec<SequenceRows>,
    /// Rows that have adapters, in order.
    pub blends: Vec<BlendRows<'a>>,
    /// Rows whose logits are wanted, ascending.
    pub wanted: Vec<usize>,
    /// Their blends, numbered from 0 among these.
    pub wanted_blends: Vec<BlendRows<'a>>,
}

impl<'a> BatchRows<'a> {
    /// Lays out a batch that fits the model and the pages.
    ///
    /// Errors: [`Error::Request`] as [`ServingDecoder::step`](super::ServingDecoder::step) says.
    pub fn new(
        config: &DecoderConfig,
        claims: &mut PageClaims,
        batch: &[SequenceStep<'a>],
    ) -> Result<Self, Error> {
        for step in batch {
            check(config, claims, step)?;
        }
        claim(claims, batch)?;
        let mut rows = Self::default();
        for step in batch {
            rows.push(step);
        }
        Ok(rows)
    }

    fn push(&mut self, step: &SequenceStep<'a>) {
        let start = self.tokens.len();
        let end = start + step.tokens.len();
        let positions = step.before..step.before + step.tokens.len();
        self.tokens.extend_from_slice(step.tokens);
        self.positions.extend(positions.clone().map(|p| p as u32));
        let pages = &step.pages[..positions.end.div_ceil(PAGE_TOKENS)];
        self.sequences.push(SequenceRows {
            rows: start..end,
            before: step.before,
            pages: pages.iter().map(|p| p.0).collect(),
        });
        join(&mut self.blends, start..end, step.adapters);
        if step.logits_wanted {
            let row = self.wanted.len();
            join(&mut self.wanted_blends, row..row + 1, step.adapters);
            self.wanted.push(end - 1);
        }
    }
}

/// Adds rows with a blend, joined to their neighbours where these have the same.
fn join<'a>(
    all: &mut Vec<BlendRows<'a>>,
    rows: Range<usize>,
    adapters: &'a [(Arc<ServingAdapter>, f32)],
) {
    if adapters.is_empty() {
        return;
    }
    let same = |other: &[(Arc<ServingAdapter>, f32)]| {
        other.len() == adapters.len()
            && other.iter().zip(adapters).all(|(a, b)| Arc::ptr_eq(&a.0, &b.0) && a.1 == b.1)
    };
    match all.last_mut() {
        Some(last) if last.rows.end == rows.start && same(last.adapters) => {
            last.rows.end = rows.end
        }
        _ => all.push(BlendRows { rows, adapters }),
    }
}

fn check(
    config: &DecoderConfig,
    claims: &PageClaims,
    step: &SequenceStep<'_>,
) -> Result<(), Error> {
    let refuse = |why: String| Err(Error::Request(why));
    let (new, context) = (step.tokens.len(), config.max_position_embeddings);
    if new == 0 {
        return refuse("a sequence without new tokens".into());
    }
    if step.before > context || new > context - step.before {
        return refuse(format!(
            "{new} tokens after {} exceed the context of {context}",
            step.before
        ));
    }
    if let Some(token) = step.tokens.iter().find(|t| **t as usize >= config.vocab_size) {
        return refuse(format!("token {token} is outside the vocabulary"));
    }
    let needed = (step.before + new).div_ceil(PAGE_TOKENS);
    if step.pages.len() < needed {
        let n = step.pages.len();
        return refuse(format!("{n} pages for {} tokens, {needed} are needed", step.before + new));
    }
    if let Some(page) = step.pages[..needed].iter().find(|p| !claims.has(**p)) {
        return refuse(format!("page {} does not exist, there are {}", page.0, claims.pages()));
    }
    check_blend(config, step.adapters)
}

/// Errors: [`Error::Request`] if it is too large, holds an adapter of another shape, or a weight that is not finite.
pub(super) fn check_blend(
    config: &DecoderConfig,
    blend: &[(Arc<ServingAdapter>, f32)],
) -> Result<(), Error> {
    let refuse = |why: String| Err(Error::Request(why));
    if blend.len() > BLEND_MAX {
        return refuse(format!("a blend of {} adapters, at most {BLEND_MAX} are run", blend.len()));
    }
    for (adapter, weight) in blend {
        if !adapter.fits(config) {
            return refuse("the adapter belongs to a base of another shape".into());
        }
        if !weight.is_finite() {
            return refuse(format!("an adapter with the weight {weight}"));
        }
    }
    Ok(())
}

/// Pages may be shared to be read; a page that is written belongs to one sequence.
fn claim(claims: &mut PageClaims, batch: &[SequenceStep<'_>]) -> Result<(), Error> {
    claims.begin();
    let shared = |page: &PageId| {
        let page = page.0;
        Err(Error::Request(format!("page {page} is written by one sequence and used by another")))
    };
    let split = |step: &SequenceStep<'_>| step.before / PAGE_TOKENS;
    for step in batch {
        let end = (step.before + step.tokens.len()).div_ceil(PAGE_TOKENS);
        for page in &step.pages[split(step)..end] {
            if !claims.claim(*page) {
                return shared(page);
            }
        }
    }
    for page in batch.iter().flat_map(|step| &step.pages[..split(step)]) {
        if claims.is_claimed(*page) {
            return shared(page);
        }
    }
    Ok(())
}
