//! Prefill and decode: one step over any mix of sequences and adapters.

use crate::layer::{Layer, LayerBuffers, Picked};
use crate::lora_panels::AdaptedRows;
use crate::{Adapter, Architecture, Decoder, Error, KvCache};
use openledger_tensor::{CachedRows, cached_attention, rms_norm, soft_cap};
use std::ops::Range;

/// New tokens of one sequence: a whole prompt, a piece of it, or the one token just generated.
#[derive(Debug)]
pub struct Slice<'a> {
    /// At least one token.
    pub tokens: &'a [u32],
    /// What came before; the tokens are added to it.
    pub cache: &'a mut KvCache,
    /// The adapter to answer with.
    pub adapter: Option<&'a Adapter>,
}

/// The rows of a batch: what is read, where, by which adapter, and which results are wanted.
#[derive(Default)]
pub(crate) struct Rows<'a> {
    pub(crate) tokens: Vec<u32>,
    pub(crate) positions: Vec<u32>,
    pub(crate) sequences: Vec<Range<usize>>,
    pub(crate) adapters: Vec<Option<&'a Adapter>>,
    /// Rows whose final state is wanted, ascending.
    pub(crate) wanted: Vec<usize>,
}

impl Decoder {
    /// Reads the tokens of all slices and returns the logits `[vocab]` after the last token of each.
    ///
    /// All slices share the products with the base, and neighbours with the same adapter those with the
    /// adapter. Each result is the same to the bit as if the slice had been read alone, in one piece or in
    /// several. Errors: [`Error::Request`] if a slice is empty, holds a token outside the vocabulary,
    /// does not fit its cache, or an adapter belongs to a base of another shape; then nothing was read.
    pub fn step(&self, slices: &mut [Slice<'_>]) -> Result<Vec<Vec<f32>>, Error> {
        for slice in slices.iter() {
            let room = slice.cache.capacity() - slice.cache.len();
            if slice.tokens.is_empty() || slice.tokens.len() > room {
                let n = slice.tokens.len();
                return Err(Error::Request(format!("{n} tokens for a cache with room for {room}")));
            }
            if slice.cache.layers.len() != self.config.num_hidden_layers {
                return Err(Error::Request("the cache belongs to another model".into()));
            }
            self.check(slice.tokens, slice.adapter)?;
        }
        let mut rows = Rows::default();
        for slice in slices.iter() {
            rows.push(slice.tokens, slice.cache.len(), slice.adapter);
            rows.wanted.push(rows.tokens.len() - 1);
        }
        let heads = self.config.heads();
        let sequences = rows.sequences.clone();
        let last = self.run(&rows, |layer, qkv, out| {
            let mut cached = Vec::with_capacity(slices.len());
            for (slice, rows) in slices.iter_mut().zip(&sequences) {
                let cache = &mut slice.cache.layers[layer];
                cache.append(heads, &qkv[rows.start * heads.row()..rows.end * heads.row()]);
                cached.push(CachedRows { rows: rows.clone(), cache: &*cache });
            }
            cached_attention(self.architecture.attention(layer, heads), qkv, &cached, out);
        });
        for slice in slices.iter_mut() {
            slice.cache.advance(slice.tokens.len());
        }
        let vocab = self.config.vocab_size;
        Ok(self.logits(&last).chunks_exact(vocab).map(<[f32]>::to_vec).collect())
    }

    /// The logits after every token of one text: `[tokens][vocab]`. For tests and inspection.
    pub fn all_logits(
        &self,
        tokens: &[u32],
        adapter: Option<&Adapter>,
    ) -> Result<Vec<Vec<f32>>, Error> {
        self.check(tokens, adapter)?;
        if tokens.len() > self.config.max_position_embeddings {
            return Err(Error::Request(format!("{} tokens exceed the context", tokens.len())));
        }
        let mut rows = Rows::default();
        rows.push(tokens, 0, adapter);
        rows.wanted.extend(0..tokens.len());
        let last = self.run_whole(&rows);
        Ok(self.logits(&last).chunks_exact(self.config.vocab_size).map(<[f32]>::to_vec).collect())
    }

    pub(crate) fn check(&self, tokens: &[u32], adapter: Option<&Adapter>) -> Result<(), Error> {
        if let Some(token) = tokens.iter().find(|t| **t as usize >= self.config.vocab_size) {
            return Err(Error::Request(format!("token {token} is outside the vocabulary")));
        }
        if adapter.is_some_and(|a| !a.layout.fits(&self.config)) {
            return Err(Error::Request("the adapter belongs to a base of another shape".into()));
        }
        Ok(())
    }

    /// Whole sequences without caches.
    pub(crate) fn run_whole(&self, rows: &Rows<'_>) -> Vec<f32> {
        let heads = self.config.heads();
        self.run(rows, |layer, qkv, out| {
            let rule = self.architecture.attention(layer, heads);
            openledger_tensor::attention(rule, qkv, &rows.sequences, out);
        })
    }

    /// The residual stream of the wanted rows after the last layer [wanted, hidden].
    fn run(&self, rows: &Rows<'_>, mut attend: impl FnMut(usize, &[f32], &mut [f32])) -> Vec<f32> {
        let h = self.config.hidden_size;
        let mut buffers = LayerBuffers::default();
        for token in &rows.tokens {
            buffers.stream.extend_from_slice(&self.weights.embedding[*token as usize * h..][..h]);
        }
        scale_embeddings(&mut buffers.stream, &self.architecture);
        let adapters = rows.adapted(0..rows.tokens.len());
        let few = rows.adapted(rows.wanted.iter().copied());
        let layers = self.config.num_hidden_layers;
        let mut next = Vec::new();
        for index in 0..layers {
            let last = index + 1 == layers && rows.wanted.len() < rows.tokens.len();
            let layer = Layer {
                index,
                config: &self.config,
                architecture: &self.architecture,
                ropes: &self.ropes,
                weights: &self.weights.layers[index],
                panels: &self.panels.layers[index],
                positions: &rows.positions,
                adapters: &adapters,
                picked: last.then_some(Picked { rows: &rows.wanted, adapters: &few }),
            };
            layer.forward(&mut buffers, &mut next, |qkv, out| attend(index, qkv, out));
            std::mem::swap(&mut buffers.stream, &mut next);
        }
        buffers.stream
    }

    /// The last norm of final states [rows, hidden].
    pub(crate) fn final_norm(&self, last: &[f32]) -> Vec<f32> {
        let rows = last.len() / self.config.hidden_size;
        let (mut normed, mut scales) = (vec![0.0; last.len()], vec![0.0; rows]);
        let eps = self.config.rms_norm_eps as f32;
        rms_norm(last, &self.weights.norm, eps, &mut normed, &mut scales);
        normed
    }

    /// Logits [rows, vocab] of final states [rows, hidden].
    pub(crate) fn logits(&self, last: &[f32]) -> Vec<f32> {
        let (normed, vocab) = (self.final_norm(last), self.config.vocab_size);
        let rows = last.len() / self.config.hidden_size;
        let mut logits = vec![0.0; rows * vocab];
        self.panels.head.forward(rows, &normed, &mut logits);
        if let Some(cap) = self.architecture.logit_soft_cap {
            soft_cap(&mut logits, cap);
        }
        logits
    }
}

/// Multiplies embeddings by the factor of their family.
pub(crate) fn scale_embeddings(x: &mut [f32], architecture: &Architecture) {
    let scale = architecture.embedding_scale;
    if scale != 1.0 {
        x.iter_mut().for_each(|x| *x *= scale);
    }
}

impl<'a> Rows<'a> {
    /// Adds tokens of a sequence of which `before` tokens were read already.
    pub(crate) fn push(&mut self, tokens: &[u32], before: usize, adapter: Option<&'a Adapter>) {
        let start = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.positions.extend((before..before + tokens.len()).map(|p| p as u32));
        self.sequences.push(start..self.tokens.len());
        self.adapters.push(adapter);
    }

    /// The adapters of some ascending rows, numbered from 0 among these; neighbours with one adapter
    /// are joined.
    fn adapted(&self, rows: impl Iterator<Item = usize>) -> Vec<AdaptedRows<'a>> {
        let mut all: Vec<AdaptedRows<'a>> = Vec::new();
        let mut sequence = 0;
        for (i, row) in rows.enumerate() {
            while row >= self.sequences[sequence].end {
                sequence += 1;
            }
            let Some(adapter) = self.adapters[sequence] else { continue };
            match all.last_mut() {
                Some(last) if last.rows.end == i && std::ptr::eq(last.panels, &adapter.panels) => {
                    last.rows.end = i + 1;
                }
                _ => all.push(AdaptedRows { rows: i..i + 1, panels: &adapter.panels }),
            }
        }
        all
    }
}
