//! The backward pass of a training step, from the gradient of the residual stream down.

use super::{Activations, Batch, forward::add};
use crate::panels::{Linear, Panels};
use crate::{DecoderConfig, Weights};
use openledger_tensor::{
    Lhs, Out, PackedMatrix, RopeTable, Start, Turn, attention_backward, gemm, rms_norm_backward,
    swiglu_backward,
};

pub(super) fn backward(
    config: &DecoderConfig,
    rope: &RopeTable,
    weights: &Weights,
    panels: &Panels,
    batch: &Batch,
    kept: &mut Activations,
    gradients: &mut Weights,
) {
    let (h, rows, heads) = (config.hidden_size, batch.rows(), config.heads());
    let Activations { layers, d_stream, d_narrow, d_attended, d_qkv, d_hidden, .. } = kept;
    let mut packed = PackedMatrix::default();
    for (i, l) in layers.iter_mut().enumerate().rev() {
        let (w, p, g) = (&weights.layers[i], &panels.layers[i], &mut gradients.layers[i]);
        // stream' = middle + down(swiglu(gate_up(norm(middle))))
        weight_gradient(&mut packed, &p.down, rows, d_stream, &l.hidden, &mut g.down);
        input_gradient(&p.down, rows, d_stream, d_hidden);
        swiglu_backward(d_hidden, config.intermediate_size, &mut l.gate_up);
        weight_gradient(
            &mut packed,
            &p.gate_up,
            rows,
            &l.gate_up,
            &l.middle_normed,
            &mut g.gate_up,
        );
        input_gradient(&p.gate_up, rows, &l.gate_up, d_narrow);
        let d_norm = Some(&mut g.feed_forward_norm[..]);
        rms_norm_backward(
            d_narrow,
            &l.middle,
            &w.feed_forward_norm,
            &l.middle_scales,
            d_stream,
            d_norm,
        );
        // middle = stream + output(attention(turn(qkv(norm(stream)))))
        weight_gradient(&mut packed, &p.output, rows, d_stream, &l.attended, &mut g.output);
        input_gradient(&p.output, rows, d_stream, d_attended);
        attention_backward(heads, &l.qkv, &l.attended, d_attended, &batch.sequences, d_qkv);
        rope.turn(
            d_qkv,
            heads.row(),
            heads.query + heads.key_value,
            &batch.positions,
            Turn::Backward,
        );
        weight_gradient(&mut packed, &p.qkv, rows, d_qkv, &l.normed, &mut g.qkv);
        input_gradient(&p.qkv, rows, d_qkv, d_narrow);
        let d_norm = Some(&mut g.attention_norm[..]);
        rms_norm_backward(d_narrow, &l.stream, &w.attention_norm, &l.scales, d_stream, d_norm);
    }
    for (token, d) in batch.tokens.iter().zip(d_stream.chunks_exact(h)) {
        add(&mut gradients.embedding[*token as usize * h..][..h], d);
    }
}

/// dx [rows, in] = dy [rows, out] · W.
pub(super) fn input_gradient(linear: &Linear, rows: usize, dy: &[f32], dx: &mut [f32]) {
    let dy = Lhs::Rows { data: dy, stride: linear.outputs };
    gemm(rows, dy, &linear.backward, Out { data: dx, stride: linear.inputs }, Start::Zero);
}

/// dW [out, in] = dyᵀ · x.
fn weight_gradient(
    packed: &mut PackedMatrix,
    linear: &Linear,
    rows: usize,
    dy: &[f32],
    x: &[f32],
    dw: &mut [f32],
) {
    packed.set_rows(x, rows, linear.inputs, linear.inputs);
    let dy = Lhs::Columns { data: dy, stride: linear.outputs };
    gemm(linear.outputs, dy, &*packed, Out { data: dw, stride: linear.inputs }, Start::Zero);
}
