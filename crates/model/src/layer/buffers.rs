//! The buffers of a layer, reused from batch to batch: fresh memory costs more than some products.

use crate::DecoderConfig;
use crate::lora_panels::LowRankScratch;

/// What the forward pass of a layer leaves behind. `rows` are all rows, `kept` those picked after attention.
#[derive(Debug, Default)]
pub(crate) struct LayerBuffers {
    /// Input of the layer [rows, hidden]; set by the caller.
    pub(crate) stream: Vec<f32>,
    /// Its norm, and the scale of each row.
    pub(crate) normed: Vec<f32>,
    pub(crate) scales: Vec<f32>,
    /// Queries and keys (normalised where the model does that, and turned) and values.
    pub(crate) qkv: Vec<f32>,
    /// Queries and keys before their norms [rows, heads · dim] and the scales of the heads; empty without.
    pub(crate) raw_queries: Vec<f32>,
    pub(crate) query_scales: Vec<f32>,
    pub(crate) raw_keys: Vec<f32>,
    pub(crate) key_scales: Vec<f32>,
    /// [rows, query · dim] while attention runs, then only the kept rows.
    pub(crate) attended: Vec<f32>,
    /// The kept rows of `stream`; empty where all are kept.
    pub(crate) picked_stream: Vec<f32>,
    /// Residual stream after attention [kept, hidden], its norm, its scales.
    pub(crate) middle: Vec<f32>,
    pub(crate) middle_normed: Vec<f32>,
    pub(crate) middle_scales: Vec<f32>,
    /// [kept, 2 · intermediate]; the backward pass turns it into its own gradient.
    pub(crate) gate_up: Vec<f32>,
    pub(crate) hidden: Vec<f32>,
    /// Results of attention and feed-forward layer before the norm after them, and its scales; empty without.
    pub(crate) attention_raw: Vec<f32>,
    pub(crate) attention_scales: Vec<f32>,
    pub(crate) feed_forward_raw: Vec<f32>,
    pub(crate) feed_forward_scales: Vec<f32>,
    /// Low-rank states of the four groups.
    pub(crate) low: [Vec<f32>; 4],
}

impl LayerBuffers {
    pub(crate) fn resize(&mut self, config: &DecoderConfig, rows: usize, kept: usize) {
        let (h, f, heads) = (config.hidden_size, config.intermediate_size, config.heads());
        let sizes = [
            (&mut self.normed, rows * h),
            (&mut self.scales, rows),
            (&mut self.qkv, rows * heads.row()),
            (&mut self.attended, rows * heads.query * heads.dim),
            (&mut self.middle, kept * h),
            (&mut self.middle_normed, kept * h),
            (&mut self.middle_scales, kept),
            (&mut self.gate_up, kept * 2 * f),
            (&mut self.hidden, kept * f),
        ];
        for (buffer, size) in sizes {
            buffer.resize(size, 0.0);
        }
    }
}

impl LayerBuffers {
    /// Memory they take.
    pub(crate) fn bytes(&self) -> usize {
        let all = [
            &self.stream,
            &self.normed,
            &self.scales,
            &self.qkv,
            &self.attended,
            &self.picked_stream,
            &self.middle,
            &self.middle_normed,
            &self.middle_scales,
            &self.gate_up,
            &self.hidden,
            &self.raw_queries,
            &self.query_scales,
            &self.raw_keys,
            &self.key_scales,
            &self.attention_raw,
            &self.attention_scales,
            &self.feed_forward_raw,
            &self.feed_forward_scales,
        ];
        4 * all.into_iter().chain(&self.low).map(Vec::capacity).sum::<usize>()
    }
}

/// Buffers of the backward pass, shared by all layers.
#[derive(Debug, Default)]
pub(crate) struct BackwardBuffers {
    /// Gradient of the residual stream; the caller sets it for the last layer's result.
    pub(crate) stream: Vec<f32>,
    pub(crate) normed: Vec<f32>,
    pub(crate) attended: Vec<f32>,
    pub(crate) qkv: Vec<f32>,
    pub(crate) hidden: Vec<f32>,
    /// Gradient of what a norm after attention or feed-forward layer reads.
    pub(crate) post: Vec<f32>,
    pub(crate) packed: openledger_tensor::PackedMatrix,
    pub(crate) low_rank: LowRankScratch,
}
