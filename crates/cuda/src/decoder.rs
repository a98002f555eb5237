//! The decoder on the device: the steps of `openledger_model::serving`, kernel by kernel.

use crate::adapters::{AdapterCache, Pairs};
use crate::backend::{Backend, Buffer, Scratch};
use crate::kernels::{self, LayerPages, NormParts, Places};
use crate::linear::{DeviceLinear, Product, ProductScratch, upload};
use crate::{DeviceForm, Error};
use openledger_model::serving::{BatchRows, KvForm, PageClaims, SequenceStep};
use openledger_model::{Activation, Architecture, DecoderConfig, Weights};
use std::sync::Arc;

/// How a model is put on a device.
#[derive(Clone, Copy, Debug)]
pub struct DeviceConfig {
    /// How weights are kept and multiplied.
    pub form: DeviceForm,
    /// How keys and values are kept: f32 or bf16.
    pub kv_form: KvForm,
    /// Memory for keys and values.
    pub kv_bytes: usize,
    /// Memory for adapters.
    pub adapter_bytes: usize,
}

/// A base model on a device, with pages of keys and values and the adapters that are in use.
#[derive(Debug)]
pub struct DeviceDecoder {
    backend: Arc<dyn Backend>,
    model: Arc<DeviceModel>,
    pages: DevicePages,
    adapters: AdapterCache,
    work: Work,
}

#[derive(Debug)]
pub(crate) struct DeviceModel {
    config: DecoderConfig,
    architecture: Architecture,
    form: DeviceForm,
    /// Where it is not the output matrix.
    embedding: Option<Buffer>,
    layers: Vec<DeviceLayer>,
    norm: Buffer,
    head: DeviceLinear,
    /// Cosines and sines of each rotary embedding.
    ropes: Vec<(Buffer, Buffer)>,
}

#[derive(Debug)]
struct DeviceLayer {
    attention_norm: Buffer,
    qkv: DeviceLinear,
    output: DeviceLinear,
    feed_forward_norm: Buffer,
    gate_up: DeviceLinear,
    down: DeviceLinear,
    attention_post_norm: Option<Buffer>,
    feed_forward_post_norm: Option<Buffer>,
    query_norm: Option<Buffer>,
    key_norm: Option<Buffer>,
}

/// Keys and values on the device.
#[derive(Debug)]
struct DevicePages {
    kv: Buffer,
    form: KvForm,
    claims: PageClaims,
}

/// Rows on their way, and what a step uploads.
#[derive(Debug)]
struct Work {
    tokens: Scratch,
    positions: Scratch,
    table: Scratch,
    pages: Scratch,
    wanted: Scratch,
    targets: Scratch,
    pairs: Pairs,
    wanted_pairs: Pairs,
    stream: Scratch,
    normed: Scratch,
    qkv: Scratch,
    attended: Scratch,
    gate_up: Scratch,
    hidden: Scratch,
    update: Scratch,
    picked: Scratch,
    logits: Scratch,
    likelihoods: Scratch,
    products: ProductScratch,
}

impl Work {
    fn new(backend: &Arc<dyn Backend>) -> Result<Self, Error> {
        let new = || Scratch::new(backend);
        Ok(Self {
            tokens: new()?,
            positions: new()?,
            table: new()?,
            pages: new()?,
            wanted: new()?,
            targets: new()?,
            pairs: Pairs::new(backend)?,
            wanted_pairs: Pairs::new(backend)?,
            stream: new()?,
            normed: new()?,
            qkv: new()?,
            attended: new()?,
            gate_up: new()?,
            hidden: new()?,
            update: new()?,
            picked: new()?,
            logits: new()?,
            likelihoods: new()?,
            products: ProductScratch::new(backend)?,
        })
    }
}

/// Bytes of one page of keys and values on the device.
pub fn page_bytes(config: &DecoderConfig, form: KvForm) -> usize {
    let element = if form == KvForm::F32 { 4 } else { 2 };
    let heads = config.heads();
    config.num_hidden_layers * heads.key_value * kernels::head_elements(heads) * element
}

impl DeviceModel {
    fn new(
        backend: &Arc<dyn Backend>,
        config: DecoderConfig,
        mut weights: Weights,
        form: DeviceForm,
    ) -> Result<Self, Error> {
        weights.fold_norm_offset(&config);
        let architecture = config.architecture()?;
        let (h, f, heads) = (config.hidden_size, config.intermediate_size, config.heads());
        let vector = |x: &[f32]| Buffer::of(backend, x);
        let optional = |x: &Option<Vec<f32>>| x.as_ref().map(|x| vector(x)).transpose();
        let linear = |w: &[f32], b: &Option<Vec<f32>>, inputs| {
            DeviceLinear::new(backend, w, b.as_ref(), inputs, form)
        };
        let apart = weights.head.is_some();
        let embedding = apart.then(|| upload(backend, &weights.embedding, h, form)).transpose()?;
        let head = linear(weights.head.as_ref().unwrap_or(&weights.embedding), &None, h)?;
        weights.embedding = Vec::new();
        weights.head = None;
        let mut layers = Vec::with_capacity(weights.layers.len());
        for w in weights.layers {
            layers.push(DeviceLayer {
                attention_norm: vector(&w.attention_norm)?,
                qkv: linear(&w.qkv, &w.qkv_bias, h)?,
                output: linear(&w.output, &w.output_bias, heads.query * heads.dim)?,
                feed_forward_norm: vector(&w.feed_forward_norm)?,
                gate_up: linear(&w.gate_up, &w.gate_up_bias, h)?,
                down: linear(&w.down, &w.down_bias, f)?,
                attention_post_norm: optional(&w.attention_post_norm)?,
                feed_forward_post_norm: optional(&w.feed_forward_post_norm)?,
                query_norm: optional(&w.query_norm)?,
                key_norm: optional(&w.key_norm)?,
            });
        }
        let tables = architecture.rope_tables(config.max_position_embeddings, heads.dim);
        let ropes = tables
            .iter()
            .map(|table| Ok((vector(table.cosines())?, vector(table.sines())?)))
            .collect::<Result<_, Error>>()?;
        let norm = vector(&weights.norm)?;
        Ok(Self { form, embedding, layers, norm, head, ropes, architecture, config })
    }

    fn bytes(&self) -> usize {
        let layer =
            |l: &DeviceLayer| l.qkv.bytes() + l.output.bytes() + l.gate_up.bytes() + l.down.bytes();
        let layers: usize = self.layers.iter().map(layer).sum();
        self.embedding.as_ref().map_or(0, Buffer::bytes) + self.head.bytes() + layers
    }
}

impl DeviceDecoder {
    /// Puts a model on a device.
    pub(crate) fn on(
        backend: &Arc<dyn Backend>,
        model: DecoderConfig,
        weights: Weights,
        config: DeviceConfig,
    ) -> Result<Self, Error> {
        let model = DeviceModel::new(backend, model, weights, config.form)?;
        Self::with(backend, Arc::new(model), config)
    }

    /// Another one with the same weights, and pages and adapters of its own.
    pub(crate) fn sharing(&self, config: DeviceConfig) -> Result<Self, Error> {
        Self::with(&self.backend, Arc::clone(&self.model), config)
    }

    fn with(
        backend: &Arc<dyn Backend>,
        model: Arc<DeviceModel>,
        config: DeviceConfig,
    ) -> Result<Self, Error> {
        if config.kv_form == KvForm::Int8 {
            return Err(openledger_model::Error::Request(
                "keys and values in eight bits are not kept on a device; ask for bf16 or f32"
                    .into(),
            )
            .into());
        }
        let page = page_bytes(&model.config, config.kv_form);
        let pages = config.kv_bytes / page;
        Ok(Self {
            pages: DevicePages {
                kv: Buffer::new(backend, pages * page)?,
                form: config.kv_form,
                claims: PageClaims::new(pages),
            },
            adapters: AdapterCache::new(Arc::clone(backend), config.adapter_bytes),
            work: Work::new(backend)?,
            backend: Arc::clone(backend),
            model,
        })
    }

    /// Shape of the model.
    pub fn config(&self) -> &DecoderConfig {
        &self.model.config
    }

    /// How weights are kept and multiplied.
    pub fn form(&self) -> DeviceForm {
        self.model.form
    }

    /// How keys and values are kept.
    pub fn kv_form(&self) -> KvForm {
        self.pages.form
    }

    /// Pages there are.
    pub fn pages(&self) -> usize {
        self.pages.claims.pages()
    }

    /// Memory of embedding and matrices on the device.
    pub fn bytes(&self) -> usize {
        self.model.bytes()
    }

    /// Memory of the adapters that are on the device now.
    pub fn adapter_bytes(&self) -> usize {
        self.adapters.bytes()
    }

    /// Reads the new tokens of all sequences, as [`ServingDecoder::step`] does: writes their keys and values
    /// and returns, in the order of the batch, the logits `[vocab]` after the last token where they are wanted.
    ///
    /// Errors: as there, with [`Error::Model`], before anything was written; those of the device.
    ///
    /// [`ServingDecoder::step`]: openledger_model::serving::ServingDecoder::step
    pub fn step(&mut self, batch: &[SequenceStep<'_>]) -> Result<Vec<Option<Vec<f32>>>, Error> {
        let rows = self.rows(batch)?;
        let kept = self.run(&rows)?;
        let vocab = self.model.config.vocab_size;
        let mut logits = vec![0.0; kept * vocab];
        if kept > 0 {
            self.logits_of(0, kept)?;
            self.work.logits.get().read(&mut logits)?;
        }
        let mut logits = logits.chunks_exact(vocab);
        let next = |step: &SequenceStep<'_>| {
            let row =
                step.logits_wanted.then(|| logits.next().expect("a row for each that wants one"));
            row.map(<[f32]>::to_vec)
        };
        Ok(batch.iter().map(next).collect())
    }

    /// Runs all layers; leaves the final, normalised states of the wanted rows and returns their number.
    pub(crate) fn run(&mut self, rows: &BatchRows<'_>) -> Result<usize, Error> {
        self.adapters.prepare(&rows.blends)?;
        let (model, w) = (&self.model, &mut self.work);
        let n = rows.tokens.len();
        let h = model.config.hidden_size;
        w.tokens.fill(&rows.tokens)?;
        w.positions.fill(&rows.positions)?;
        w.wanted.fill(&rows.wanted.iter().map(|row| *row as u32).collect::<Vec<_>>())?;
        let (mut pages, mut table) = (Vec::new(), Vec::with_capacity(n));
        for sequence in &rows.sequences {
            table.extend(sequence.rows.clone().map(|_| pages.len() as u32));
            pages.extend_from_slice(&sequence.pages);
        }
        w.pages.fill(&pages)?;
        w.table.fill(&table)?;
        w.pairs.set(&rows.blends, &self.adapters)?;
        w.wanted_pairs.set(&rows.wanted_blends, &self.adapters)?;
        w.stream.room::<f32>(n * h)?;
        let table = model.embedding.as_ref().unwrap_or(model.head.weight());
        let table = (table, model.form == DeviceForm::Bf16);
        let scale = model.architecture.embedding_scale;
        kernels::embed((w.tokens.get(), n), table, h, scale, w.stream.get())?;
        for index in 0..model.layers.len() {
            layer(model, index, rows, &self.pages, w)?;
        }
        let kept = rows.wanted.len();
        if kept > 0 {
            w.normed.room::<f32>(kept * h)?;
            norm(&model.norm, w.stream.get(), w.normed.get(), kept, h, model)?;
        }
        Ok(kept)
    }

    /// Logits of some of the states that [`Self::run`] left.
    pub(crate) fn logits_of(&mut self, from: usize, rows: usize) -> Result<(), Error> {
        let (model, w) = (&self.model, &mut self.work);
        let (h, vocab) = (model.config.hidden_size, model.config.vocab_size);
        let mut x = w.normed.get();
        if from > 0 {
            let chosen: Vec<u32> = (from..from + rows).map(|row| row as u32).collect();
            w.wanted.fill(&chosen)?;
            w.picked.room::<f32>(rows * h)?;
            kernels::pick(x, (w.wanted.get(), rows), h, w.picked.get())?;
            x = w.picked.get();
        }
        w.logits.room::<f32>(rows * vocab)?;
        w.pairs.set(&[], &self.adapters)?;
        let product = Product { x, y: w.logits.get(), rows };
        model.head.forward(&product, (&w.pairs, 0), &mut w.products)?;
        if let Some(cap) = model.architecture.logit_soft_cap {
            kernels::soft_cap(w.logits.get(), rows, vocab, cap)?;
        }
        Ok(())
    }

    /// ln p of the targets of some of the states that [`Self::run`] left.
    pub(crate) fn likelihoods_of(
        &mut self,
        from: usize,
        targets: &[u32],
    ) -> Result<Vec<f32>, Error> {
        let rows = targets.len();
        self.logits_of(from, rows)?;
        let w = &mut self.work;
        w.targets.fill(targets)?;
        w.likelihoods.room::<f32>(rows)?;
        let vocab = self.model.config.vocab_size;
        kernels::log_likelihood(
            w.logits.get(),
            (w.targets.get(), rows),
            vocab,
            w.likelihoods.get(),
        )?;
        let mut likelihoods = vec![0.0; rows];
        w.likelihoods.get().read(&mut likelihoods)?;
        Ok(likelihoods)
    }

    /// The rows of a batch, checked.
    pub(crate) fn rows<'a>(&mut self, batch: &[SequenceStep<'a>]) -> Result<BatchRows<'a>, Error> {
        Ok(BatchRows::new(&self.model.config, &mut self.pages.claims, batch)?)
    }
}

fn norm(
    weight: &Buffer,
    x: &Buffer,
    y: &Buffer,
    rows: usize,
    width: usize,
    model: &DeviceModel,
) -> Result<(), Error> {
    let whole = NormParts { stride: width, from: 0, parts: 1 };
    kernels::rms_norm(x, weight, y, rows, whole, model.config.rms_norm_eps as f32)
}

/// One layer; after the last one the stream holds the wanted rows only.
fn layer(
    model: &DeviceModel,
    index: usize,
    rows: &BatchRows<'_>,
    pages: &DevicePages,
    w: &mut Work,
) -> Result<(), Error> {
    let (layer, heads) = (&model.layers[index], model.config.heads());
    let (h, f, eps) = (
        model.config.hidden_size,
        model.config.intermediate_size,
        model.config.rms_norm_eps as f32,
    );
    let (n, width) = (rows.tokens.len(), heads.query * heads.dim);

    w.normed.room::<f32>(n * h)?;
    norm(&layer.attention_norm, w.stream.get(), w.normed.get(), n, h, model)?;
    w.qkv.room::<f32>(n * heads.row())?;
    let qkv = w.qkv.get();
    let product = Product { x: w.normed.get(), y: qkv, rows: n };
    layer.qkv.forward(&product, (&w.pairs, 4 * index), &mut w.products)?;
    let parts = [(&layer.query_norm, 0, heads.query), (&layer.key_norm, width, heads.key_value)];
    for (norm, from, parts) in parts {
        if let Some(norm) = norm {
            let at = NormParts { stride: heads.row(), from, parts };
            kernels::rms_norm(qkv, norm, qkv, n, at, eps)?;
        }
    }
    let (cosines, sines) = &model.ropes[model.architecture.layers[index].rope];
    let turned = heads.query + heads.key_value;
    let positions = (w.positions.get(), n);
    kernels::rope(qkv, positions, (cosines, sines), heads.row(), turned, heads.dim / 2)?;
    let rule = model.architecture.attention(index, heads);
    let kv =
        LayerPages { kv: &pages.kv, form: pages.form, layer: index, layers: model.layers.len() };
    let places = Places {
        rows: n,
        pages: w.pages.get(),
        table: w.table.get(),
        positions: w.positions.get(),
    };
    kernels::write_kv(rule, qkv, kv, places)?;
    w.attended.room::<f32>(n * width)?;
    kernels::attend(rule, qkv, kv, places, w.attended.get())?;

    let (mut kept, mut pairs) = (n, &w.pairs);
    if index + 1 == model.layers.len() && rows.wanted.len() < n {
        (kept, pairs) = (rows.wanted.len(), &w.wanted_pairs);
        for (rows_of, width) in [(&mut w.attended, width), (&mut w.stream, h)] {
            w.picked.room::<f32>(kept * width)?;
            kernels::pick(rows_of.get(), (w.wanted.get(), kept), width, w.picked.get())?;
            std::mem::swap(rows_of, &mut w.picked);
        }
    }
    if kept == 0 {
        return Ok(());
    }
    w.update.room::<f32>(kept * h)?;
    let product = Product { x: w.attended.get(), y: w.update.get(), rows: kept };
    layer.output.forward(&product, (pairs, 4 * index + 1), &mut w.products)?;
    if let Some(post) = &layer.attention_post_norm {
        norm(post, w.update.get(), w.update.get(), kept, h, model)?;
    }
    kernels::add(w.stream.get(), w.update.get(), kept, h)?;

    norm(&layer.feed_forward_norm, w.stream.get(), w.normed.get(), kept, h, model)?;
    w.gate_up.room::<f32>(kept * 2 * f)?;
    let product = Product { x: w.normed.get(), y: w.gate_up.get(), rows: kept };
    layer.gate_up.forward(&product, (pairs, 4 * index + 2), &mut w.products)?;
    w.hidden.room::<f32>(kept * f)?;
    let gelu = model.architecture.activation == Activation::GeluTanh;
    kernels::gate(w.gate_up.get(), gelu, kept, f, w.hidden.get())?;
    let product = Product { x: w.hidden.get(), y: w.update.get(), rows: kept };
    layer.down.forward(&product, (pairs, 4 * index + 3), &mut w.products)?;
    if let Some(post) = &layer.feed_forward_post_norm {
        norm(post, w.update.get(), w.update.get(), kept, h, model)?;
    }
    kernels::add(w.stream.get(), w.update.get(), kept, h)
}
