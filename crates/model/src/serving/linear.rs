//! The linear layers of the serving decoder.
//!
//! **Invariant:** a row of a product depends on that row and the weights alone.

use openledger_tensor::{FourBitMatrix, Lhs, Out, PackedMatrix, Start, gemm};

/// How the matrices of the base are kept and multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightForm {
    /// f32, every sum over inputs in order: the bits of the exact [`Decoder`](crate::Decoder).
    F32,
    /// Weights rounded to bf16, else as `F32`: the same bits where the weights are bf16 values.
    Bf16,
    /// Weights and inputs in eight bits, sums in integers.
    Int8,
    /// Weights in four bits, in groups of 32 that share a scale.
    FourBit,
}

/// y = x · Wᵀ.
#[derive(Debug)]
pub(crate) struct ServingLinear {
    forward: PackedMatrix,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

impl ServingLinear {
    /// From W [outputs, inputs].
    pub(crate) fn new(weight: &[f32], inputs: usize, form: WeightForm) -> Self {
        let outputs = weight.len() / inputs;
        let kept: Vec<f32> = match form {
            WeightForm::F32 => weight.to_vec(),
            WeightForm::Bf16 => {
                weight.iter().map(|x| crate::from_bf16(crate::to_bf16(*x))).collect()
            }
            WeightForm::Int8 => weight.chunks_exact(inputs).flat_map(eight_bits).collect(),
            WeightForm::FourBit => {
                let mut kept = Vec::new();
                FourBitMatrix::quantise(weight, outputs, inputs).dequantise(&mut kept);
                kept
            }
        };
        let forward = PackedMatrix::from_columns(&kept, inputs, outputs, inputs);
        Self { forward, inputs, outputs }
    }

    /// y [rows, outputs] = x [rows, inputs] · Wᵀ.
    pub(crate) fn forward(&self, rows: usize, x: &[f32], y: &mut [f32]) {
        let lhs = Lhs::Rows { data: x, stride: self.inputs };
        gemm(rows, lhs, &self.forward, Out { data: y, stride: self.outputs }, Start::Zero);
    }

    /// Memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.forward.bytes()
    }
}

/// A row of weights as codes −127..=127 of one scale stand for it.
fn eight_bits(row: &[f32]) -> Vec<f32> {
    let scale = row.iter().fold(0.0f32, |a, b| a.max(b.abs())) / 127.0;
    let kept = |x: &f32| if scale > 0.0 { (x / scale).round_ties_even() * scale } else { 0.0 };
    row.iter().map(kept).collect()
}
