//! The serving decoder: one step over any mix of sequences, pieces of prompts and adapters.

use super::batch::{BatchRows, SequenceStep};
use super::input::forward_adapted;
use super::linear::{ServingLinear, WeightForm};
use super::{KvForm, KvPages};
use crate::decoder::rope_tables;
use crate::inference::scale_embeddings;
use crate::lora::Group;
use crate::{Activation, Architecture, DecoderConfig, Error, Weights};
use openledger_tensor::{
    Int8Rows, PagedRows, RopeTable, Turn, geglu, paged_attention, rms_norm, soft_cap, swiglu,
};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// A base model packed for serving.
#[derive(Debug)]
pub struct ServingDecoder {
    config: DecoderConfig,
    weight_form: WeightForm,
    kv_form: KvForm,
    architecture: Architecture,
    /// One per rotary embedding of the architecture.
    ropes: Arc<Vec<RopeTable>>,
    /// [vocab, hidden].
    embedding: Arc<Vec<f32>>,
    layers: Vec<ServingLayer>,
    norm: Vec<f32>,
    head: Arc<ServingLinear>,
    /// Buffers of the last step, so that the next needs no fresh memory.
    buffers: Mutex<Vec<Buffers>>,
}

#[derive(Clone, Debug)]
struct ServingLayer {
    attention_norm: Vec<f32>,
    qkv: Arc<ServingLinear>,
    output: Arc<ServingLinear>,
    feed_forward_norm: Vec<f32>,
    gate_up: Arc<ServingLinear>,
    down: Arc<ServingLinear>,
    attention_post_norm: Option<Vec<f32>>,
    feed_forward_post_norm: Option<Vec<f32>>,
    query_norm: Option<Vec<f32>>,
    key_norm: Option<Vec<f32>>,
}

/// Rows on their way through the layers.
#[derive(Debug, Default)]
struct Buffers {
    stream: Vec<f32>,
    normed: Vec<f32>,
    scales: Vec<f32>,
    qkv: Vec<f32>,
    attended: Vec<f32>,
    gate_up: Vec<f32>,
    hidden: Vec<f32>,
    update: Vec<f32>,
    codes: Int8Rows,
    logits: Vec<f32>,
}

impl ServingDecoder {
    /// Packs weights in the given form for pages of the given form.
    pub fn new(
        config: DecoderConfig,
        mut weights: Weights,
        weight_form: WeightForm,
        kv_form: KvForm,
    ) -> Self {
        weights.fold_norm_offset(&config);
        let (h, f, heads) = (config.hidden_size, config.intermediate_size, config.heads());
        let architecture = config.checked_architecture();
        let linear = |w: &[f32], inputs, bias| {
            Arc::new(ServingLinear::new(w, inputs, weight_form).with_bias(bias))
        };
        // Four bits are too few where the choice between tokens is made.
        let head_form =
            if weight_form == WeightForm::FourBit { WeightForm::Int8 } else { weight_form };
        let head = weights.head.as_ref().unwrap_or(&weights.embedding);
        let head = ServingLinear::new(head, h, head_form);
        let layers = weights.layers.into_iter().map(|w| ServingLayer {
            qkv: linear(&w.qkv, h, w.qkv_bias),
            output: linear(&w.output, heads.query * heads.dim, w.output_bias),
            gate_up: linear(&w.gate_up, h, w.gate_up_bias),
            down: linear(&w.down, f, w.down_bias),
            attention_norm: w.attention_norm,
            feed_forward_norm: w.feed_forward_norm,
            attention_post_norm: w.attention_post_norm,
            feed_forward_post_norm: w.feed_forward_post_norm,
            query_norm: w.query_norm,
            key_norm: w.key_norm,
        });
        Self {
            weight_form,
            kv_form,
            ropes: Arc::new(rope_tables(&config, &architecture)),
            architecture,
            layers: layers.collect(),
            embedding: Arc::new(weights.embedding),
            norm: weights.norm,
            head: Arc::new(head),
            buffers: Mutex::default(),
            config,
        }
    }

    /// Shape of the model.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// How the matrices are kept.
    pub fn weight_form(&self) -> WeightForm {
        self.weight_form
    }

    /// How the keys and values it writes are kept.
    pub fn kv_form(&self) -> KvForm {
        self.kv_form
    }

    /// Memory of embedding and matrices.
    pub fn bytes(&self) -> usize {
        let matrices = self.layers.iter().flat_map(ServingLayer::matrices);
        let layers: usize = matrices.map(|matrix| matrix.bytes()).sum();
        4 * self.embedding.len() + layers + self.head.bytes()
    }

    /// The matrices of each layer, in the order of [`Group`].
    pub(super) fn matrices(&self) -> impl Iterator<Item = [&Arc<ServingLinear>; 4]> {
        self.layers.iter().map(ServingLayer::matrices)
    }

    /// The same model with other matrices in its layers; everything else is shared or small.
    pub(super) fn with_matrices(&self, matrices: Vec<[Arc<ServingLinear>; 4]>) -> Self {
        assert!(matrices.len() == self.layers.len(), "matrices for every layer");
        let layers = self.layers.iter().zip(matrices).map(|(layer, matrices)| {
            let [qkv, output, gate_up, down] = matrices;
            ServingLayer { qkv, output, gate_up, down, ..layer.clone() }
        });
        Self {
            config: self.config.clone(),
            weight_form: self.weight_form,
            kv_form: self.kv_form,
            architecture: self.architecture.clone(),
            ropes: Arc::clone(&self.ropes),
            embedding: Arc::clone(&self.embedding),
            layers: layers.collect(),
            norm: self.norm.clone(),
            head: Arc::clone(&self.head),
            buffers: Mutex::default(),
        }
    }

    /// Pages for this decoder.
    pub fn pages(&self, pages: usize) -> KvPages {
        KvPages::new(&self.config, self.kv_form, pages)
    }

    /// Reads the new tokens of all sequences: writes their keys and values to their pages and returns, in
    /// the order of the batch, the logits `[vocab]` after the last token where they are wanted.
    ///
    /// Errors: [`Error::Request`] if a sequence has no new tokens, exceeds the context, holds a token outside
    /// the vocabulary, has too few pages or one that does not exist, shares a page that is written in this
    /// step, blends too many adapters, or has an adapter of another shape or a weight that is not finite; or
    /// if the pages have another form or shape. Then nothing was written.
    pub fn step(
        &self,
        kv: &mut KvPages,
        batch: &[SequenceStep<'_>],
    ) -> Result<Vec<Option<Vec<f32>>>, Error> {
        if kv.form() != self.kv_form {
            let (is, wanted) = (kv.form(), self.kv_form);
            return Err(Error::Request(format!(
                "pages are {is:?}, this decoder writes {wanted:?}"
            )));
        }
        if !kv.kv.fits(self.config.heads(), self.config.num_hidden_layers) {
            return Err(Error::Request("the pages were made for another model".into()));
        }
        let rows = BatchRows::new(&self.config, &mut kv.claims, batch)?;
        kv.reach(batch);
        let pool = || self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut b = pool().pop().unwrap_or_default();
        let h = self.config.hidden_size;
        b.stream.clear();
        for token in &rows.tokens {
            b.stream.extend_from_slice(&self.embedding[*token as usize * h..][..h]);
        }
        scale_embeddings(&mut b.stream, &self.architecture);
        for index in 0..self.layers.len() {
            self.layer(index, &rows, kv, &mut b);
        }
        self.logits(&mut b);
        let mut logits = b.logits.chunks_exact(self.config.vocab_size);
        let next = |step: &SequenceStep<'_>| {
            let row =
                step.logits_wanted.then(|| logits.next().expect("a row for each that wants one"));
            row.map(<[f32]>::to_vec)
        };
        let all = batch.iter().map(next).collect();
        pool().push(b);
        Ok(all)
    }

    /// One layer; after the last one the stream holds the wanted rows only.
    fn layer(&self, index: usize, rows: &BatchRows<'_>, kv: &mut KvPages, b: &mut Buffers) {
        let (layer, heads) = (&self.layers[index], self.config.heads());
        let (h, f) = (self.config.hidden_size, self.config.intermediate_size);
        let (width, eps) = (heads.query * heads.dim, self.config.rms_norm_eps as f32);
        let n = rows.tokens.len();

        b.normed.resize(n * h, 0.0);
        b.scales.resize(n, 0.0);
        rms_norm(&b.stream, &layer.attention_norm, eps, &mut b.normed, &mut b.scales);
        b.qkv.resize(n * heads.row(), 0.0);
        let at = |group| (index, group);
        let (x, y, codes) = (&b.normed, &mut b.qkv, &mut b.codes);
        forward_adapted(&layer.qkv, at(Group::Attention), &rows.blends, x, codes, y);
        let turned = heads.query + heads.key_value;
        let keys = width..turned * heads.dim;
        norm_heads(&mut b.qkv, heads.row(), 0..width, &layer.query_norm, eps, &mut b.normed);
        norm_heads(&mut b.qkv, heads.row(), keys, &layer.key_norm, eps, &mut b.normed);
        let rope = &self.ropes[self.architecture.layers[index].rope];
        rope.turn(&mut b.qkv, heads.row(), turned, &rows.positions, Turn::Forward);
        for s in &rows.sequences {
            let new = &b.qkv[s.rows.start * heads.row()..s.rows.end * heads.row()];
            kv.kv.write(heads, index, &s.pages, s.before, new);
        }
        b.attended.resize(n * width, 0.0);
        let paged: Vec<PagedRows<'_>> = rows
            .sequences
            .iter()
            .map(|s| PagedRows { rows: s.rows.clone(), before: s.before, pages: &s.pages })
            .collect();
        let rule = self.architecture.attention(index, heads);
        paged_attention(rule, &b.qkv, &kv.kv, index, &paged, &mut b.attended);

        let (mut kept, mut blends) = (n, &rows.blends);
        if index + 1 == self.layers.len() && rows.wanted.len() < n {
            (kept, blends) = (rows.wanted.len(), &rows.wanted_blends);
            pick(&rows.wanted, width, &mut b.attended);
            pick(&rows.wanted, h, &mut b.stream);
        }
        b.update.resize(kept * h, 0.0);
        let (x, y, codes) = (&b.attended, &mut b.update, &mut b.codes);
        forward_adapted(&layer.output, at(Group::Output), blends, x, codes, y);
        post_norm(&mut b.update, &layer.attention_post_norm, eps, &mut b.normed, &mut b.scales);
        add(&mut b.stream, &b.update);

        b.normed.resize(kept * h, 0.0);
        b.scales.resize(kept, 0.0);
        rms_norm(&b.stream, &layer.feed_forward_norm, eps, &mut b.normed, &mut b.scales);
        b.gate_up.resize(kept * 2 * f, 0.0);
        let (x, y, codes) = (&b.normed, &mut b.gate_up, &mut b.codes);
        forward_adapted(&layer.gate_up, at(Group::GateUp), blends, x, codes, y);
        b.hidden.resize(kept * f, 0.0);
        match self.architecture.activation {
            Activation::Silu => swiglu(&b.gate_up, f, &mut b.hidden),
            Activation::GeluTanh => geglu(&b.gate_up, f, &mut b.hidden),
        }
        let (x, y, codes) = (&b.hidden, &mut b.update, &mut b.codes);
        forward_adapted(&layer.down, at(Group::Down), blends, x, codes, y);
        post_norm(&mut b.update, &layer.feed_forward_post_norm, eps, &mut b.normed, &mut b.scales);
        add(&mut b.stream, &b.update);
    }

    /// Logits [rows, vocab] of the final states in the stream [rows, hidden].
    fn logits(&self, b: &mut Buffers) {
        let (h, eps) = (self.config.hidden_size, self.config.rms_norm_eps as f32);
        let rows = b.stream.len() / h;
        b.normed.resize(rows * h, 0.0);
        b.scales.resize(rows, 0.0);
        rms_norm(&b.stream, &self.norm, eps, &mut b.normed, &mut b.scales);
        b.logits.resize(rows * self.config.vocab_size, 0.0);
        let output = (0, Group::Output);
        forward_adapted(&self.head, output, &[], &b.normed, &mut b.codes, &mut b.logits);
        if let Some(cap) = self.architecture.logit_soft_cap {
            soft_cap(&mut b.logits, cap);
        }
    }
}

impl ServingLayer {
    fn matrices(&self) -> [&Arc<ServingLinear>; 4] {
        [&self.qkv, &self.output, &self.gate_up, &self.down]
    }
}

/// Normalises each head in some columns of x [rows, stride], where the model does.
fn norm_heads(
    x: &mut [f32],
    stride: usize,
    columns: Range<usize>,
    norm: &Option<Vec<f32>>,
    eps: f32,
    raw: &mut Vec<f32>,
) {
    let Some(norm) = norm else { return };
    let mut scales = vec![0.0; columns.len() / norm.len()];
    for row in x.chunks_exact_mut(stride) {
        let row = &mut row[columns.clone()];
        raw.clear();
        raw.extend_from_slice(row);
        rms_norm(raw, norm, eps, row, &mut scales);
    }
}

/// Normalises x in place, where the model does.
fn post_norm(
    x: &mut [f32],
    norm: &Option<Vec<f32>>,
    eps: f32,
    raw: &mut Vec<f32>,
    scales: &mut Vec<f32>,
) {
    let Some(norm) = norm else { return };
    raw.clear();
    raw.extend_from_slice(x);
    scales.resize(raw.len() / norm.len(), 0.0);
    rms_norm(raw, norm, eps, x, scales);
}

/// x += y.
fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// Moves ascending rows to the front and drops the rest.
fn pick(rows: &[usize], width: usize, x: &mut Vec<f32>) {
    for (to, from) in rows.iter().enumerate() {
        x.copy_within(from * width..(from + 1) * width, to * width);
    }
    x.truncate(rows.len() * width);
}
