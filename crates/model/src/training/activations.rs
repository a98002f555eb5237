//! What a forward pass keeps, in buffers that live through a whole run.

use crate::DecoderConfig;

/// Buffers of one trainer. Reused from batch to batch: fresh memory costs more than some products.
#[derive(Debug, Default)]
pub struct Activations {
    pub(super) layers: Vec<LayerActivations>,
    /// Residual stream after the last layer [rows, hidden].
    pub(super) last: Vec<f32>,
    /// Gradient of the residual stream [rows, hidden].
    pub(super) d_stream: Vec<f32>,
    pub(super) d_narrow: Vec<f32>,
    pub(super) d_attended: Vec<f32>,
    pub(super) d_qkv: Vec<f32>,
    pub(super) d_hidden: Vec<f32>,
    pub(super) logits: Vec<f32>,
}

#[derive(Debug, Default)]
pub(super) struct LayerActivations {
    /// Input of the layer [rows, hidden].
    pub(super) stream: Vec<f32>,
    /// Its norm, and the scale of each row.
    pub(super) normed: Vec<f32>,
    pub(super) scales: Vec<f32>,
    /// Queries and keys (turned) and values.
    pub(super) qkv: Vec<f32>,
    pub(super) attended: Vec<f32>,
    /// Residual stream after attention.
    pub(super) middle: Vec<f32>,
    pub(super) middle_normed: Vec<f32>,
    pub(super) middle_scales: Vec<f32>,
    pub(super) gate_up: Vec<f32>,
    pub(super) hidden: Vec<f32>,
}

impl Activations {
    pub(super) fn resize(&mut self, config: &DecoderConfig, rows: usize) {
        let (h, f) = (config.hidden_size, config.intermediate_size);
        let heads = config.heads();
        let attention = heads.query * heads.dim;
        self.layers.resize_with(config.num_hidden_layers, LayerActivations::default);
        for l in &mut self.layers {
            for buffer in [&mut l.stream, &mut l.normed, &mut l.middle, &mut l.middle_normed] {
                buffer.resize(rows * h, 0.0);
            }
            l.scales.resize(rows, 0.0);
            l.middle_scales.resize(rows, 0.0);
            l.qkv.resize(rows * heads.row(), 0.0);
            l.attended.resize(rows * attention, 0.0);
            l.gate_up.resize(rows * 2 * f, 0.0);
            l.hidden.resize(rows * f, 0.0);
        }
        for buffer in [&mut self.last, &mut self.d_stream, &mut self.d_narrow] {
            buffer.resize(rows * h, 0.0);
        }
        self.d_attended.resize(rows * attention, 0.0);
        self.d_qkv.resize(rows * heads.row(), 0.0);
        self.d_hidden.resize(rows * f, 0.0);
    }
}
