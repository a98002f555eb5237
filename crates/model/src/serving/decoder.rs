//! The serving decoder: one step over any mix of sequences, pieces of prompts and adapters.

use super::batch::{BatchRows, BlendRows, SequenceStep};
use super::linear::{ServingLinear, WeightForm};
use super::{KvForm, KvPages};
use crate::decoder::rope_tables;
use crate::lora::Group;
use crate::{DecoderConfig, Error, Weights};
use openledger_tensor::{PagedRows, RopeTable, Turn, paged_attention, rms_norm, swiglu};

/// A base model packed for serving.
#[derive(Debug)]
pub struct ServingDecoder {
    config: DecoderConfig,
    weight_form: WeightForm,
    kv_form: KvForm,
    rope: RopeTable,
    /// [vocab, hidden].
    embedding: Vec<f32>,
    layers: Vec<ServingLayer>,
    norm: Vec<f32>,
    head: ServingLinear,
}

#[derive(Debug)]
struct ServingLayer {
    attention_norm: Vec<f32>,
    qkv: ServingLinear,
    output: ServingLinear,
    feed_forward_norm: Vec<f32>,
    gate_up: ServingLinear,
    down: ServingLinear,
}

/// Rows on their way through the layers.
#[derive(Default)]
struct Buffers {
    stream: Vec<f32>,
    normed: Vec<f32>,
    scales: Vec<f32>,
    qkv: Vec<f32>,
    attended: Vec<f32>,
    gate_up: Vec<f32>,
    hidden: Vec<f32>,
    update: Vec<f32>,
    low: Vec<f32>,
}

impl ServingDecoder {
    /// Packs weights in the given form for pages of the given form.
    ///
    /// Panics unless the architecture is that of the first Llama.
    pub fn new(
        config: DecoderConfig,
        weights: Weights,
        weight_form: WeightForm,
        kv_form: KvForm,
    ) -> Self {
        let (h, f, heads) = (config.hidden_size, config.intermediate_size, config.heads());
        let architecture = config.checked_architecture();
        assert!(architecture.is_plain(heads), "only Llama's first architecture is served");
        let linear = |w: &[f32], inputs| ServingLinear::new(w, inputs, weight_form);
        let head = linear(weights.head.as_ref().unwrap_or(&weights.embedding), h);
        let layers = weights.layers.into_iter().map(|w| ServingLayer {
            qkv: linear(&w.qkv, h),
            output: linear(&w.output, heads.query * heads.dim),
            gate_up: linear(&w.gate_up, h),
            down: linear(&w.down, f),
            attention_norm: w.attention_norm,
            feed_forward_norm: w.feed_forward_norm,
        });
        Self {
            weight_form,
            kv_form,
            rope: rope_tables(&config, &architecture).swap_remove(0),
            layers: layers.collect(),
            embedding: weights.embedding,
            norm: weights.norm,
            head,
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
        let layer = |l: &ServingLayer| {
            l.qkv.bytes() + l.output.bytes() + l.gate_up.bytes() + l.down.bytes()
        };
        let layers: usize = self.layers.iter().map(layer).sum();
        4 * self.embedding.len() + layers + self.head.bytes()
    }

    /// Pages for this decoder.
    pub fn pages(&self, pages: usize) -> KvPages {
        KvPages::new(&self.config, self.kv_form, pages)
    }

    /// Reads the new tokens of all sequences: writes their keys and values to their pages and returns, in
    /// the order of the batch, the logits [vocab] after the last token where they are wanted.
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
        let rows = BatchRows::new(&self.config, kv, batch)?;
        let mut b = Buffers::default();
        let h = self.config.hidden_size;
        for token in &rows.tokens {
            b.stream.extend_from_slice(&self.embedding[*token as usize * h..][..h]);
        }
        for index in 0..self.layers.len() {
            self.layer(index, &rows, kv, &mut b);
        }
        let logits = self.logits(&b.stream);
        let mut logits = logits.chunks_exact(self.config.vocab_size);
        let next = |step: &SequenceStep<'_>| {
            let row =
                step.logits_wanted.then(|| logits.next().expect("a row for each that wants one"));
            row.map(<[f32]>::to_vec)
        };
        Ok(batch.iter().map(next).collect())
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
        layer.qkv.forward(n, &b.normed, &mut b.qkv);
        adapt(
            &rows.blends,
            (index, Group::Attention),
            &b.normed,
            &mut b.qkv,
            &layer.qkv,
            &mut b.low,
        );
        let turned = heads.query + heads.key_value;
        self.rope.turn(&mut b.qkv, heads.row(), turned, &rows.positions, Turn::Forward);
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
        paged_attention(heads, &b.qkv, &kv.kv, index, &paged, &mut b.attended);

        let (mut kept, mut blends) = (n, &rows.blends);
        if index + 1 == self.layers.len() && rows.wanted.len() < n {
            (kept, blends) = (rows.wanted.len(), &rows.wanted_blends);
            pick(&rows.wanted, width, &mut b.attended);
            pick(&rows.wanted, h, &mut b.stream);
        }
        b.update.resize(kept * h, 0.0);
        layer.output.forward(kept, &b.attended, &mut b.update);
        adapt(
            blends,
            (index, Group::Output),
            &b.attended,
            &mut b.update,
            &layer.output,
            &mut b.low,
        );
        add(&mut b.stream, &b.update);

        b.normed.resize(kept * h, 0.0);
        b.scales.resize(kept, 0.0);
        rms_norm(&b.stream, &layer.feed_forward_norm, eps, &mut b.normed, &mut b.scales);
        b.gate_up.resize(kept * 2 * f, 0.0);
        layer.gate_up.forward(kept, &b.normed, &mut b.gate_up);
        adapt(
            blends,
            (index, Group::GateUp),
            &b.normed,
            &mut b.gate_up,
            &layer.gate_up,
            &mut b.low,
        );
        b.hidden.resize(kept * f, 0.0);
        swiglu(&b.gate_up, f, &mut b.hidden);
        layer.down.forward(kept, &b.hidden, &mut b.update);
        adapt(blends, (index, Group::Down), &b.hidden, &mut b.update, &layer.down, &mut b.low);
        add(&mut b.stream, &b.update);
    }

    /// Logits [rows, vocab] of final states [rows, hidden].
    fn logits(&self, last: &[f32]) -> Vec<f32> {
        let rows = last.len() / self.config.hidden_size;
        let (mut normed, mut scales) = (vec![0.0; last.len()], vec![0.0; rows]);
        let eps = self.config.rms_norm_eps as f32;
        rms_norm(last, &self.norm, eps, &mut normed, &mut scales);
        let mut logits = vec![0.0; rows * self.config.vocab_size];
        self.head.forward(rows, &normed, &mut logits);
        logits
    }
}

/// Continues y with the low-rank updates of x, each row's blend in its order.
fn adapt(
    blends: &[BlendRows<'_>],
    at: (usize, Group),
    x: &[f32],
    y: &mut [f32],
    linear: &ServingLinear,
    low: &mut Vec<f32>,
) {
    for blend in blends {
        let rows = &blend.rows;
        let x = &x[rows.start * linear.inputs..rows.end * linear.inputs];
        for (adapter, weight) in blend.adapters {
            let y = &mut y[rows.start * linear.outputs..rows.end * linear.outputs];
            adapter.adapt(at, rows.len(), x, (y, linear.outputs), *weight, low);
        }
    }
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
