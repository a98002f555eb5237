//! The linear layers of the serving decoder.
//!
//! **Invariant:** a row of a product depends on that row and the weights alone.

use super::input::Input;
use openledger_tensor::{
    Ahead, Bf16Panels, FourBitMatrix, FourBitPanels, Int8Matrix, Lhs, Out, PackedMatrix, Start,
    gemm,
};

/// How the matrices of the base are kept and multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeightForm {
    /// f32, every sum over inputs in order: the bits of the exact [`Decoder`](crate::Decoder).
    F32,
    /// Weights rounded to bf16, else as `F32`: the same bits where the weights are bf16 values.
    Bf16,
    /// Weights and inputs in eight bits with a scale for each 256, sums in integers.
    Int8,
    /// Weights in four bits with a scale for each 32, inputs in eight bits, sums in integers. The output
    /// matrix is kept in eight.
    FourBit,
}

/// y = x · Wᵀ + b.
#[derive(Debug)]
pub(crate) struct ServingLinear {
    matrix: Matrix,
    /// [outputs], where the model has one.
    bias: Option<Vec<f32>>,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

#[derive(Debug)]
enum Matrix {
    F32(PackedMatrix),
    Bf16(Bf16Panels),
    Int8(Int8Matrix),
    FourBit(FourBitPanels),
}

impl ServingLinear {
    /// From W [outputs, inputs].
    pub(crate) fn new(weight: &[f32], inputs: usize, form: WeightForm) -> Self {
        let outputs = weight.len() / inputs;
        let matrix = match form {
            WeightForm::F32 => {
                Matrix::F32(PackedMatrix::from_columns(weight, inputs, outputs, inputs))
            }
            WeightForm::Bf16 => Matrix::Bf16(Bf16Panels::from_columns(weight, inputs, outputs)),
            WeightForm::Int8 => Matrix::Int8(Int8Matrix::quantise(weight, inputs, outputs)),
            WeightForm::FourBit => {
                Matrix::FourBit((&FourBitMatrix::quantise(weight, outputs, inputs)).into())
            }
        };
        Self { matrix, bias: None, inputs, outputs }
    }

    /// The same with a bias [outputs].
    pub(crate) fn with_bias(self, bias: Option<Vec<f32>>) -> Self {
        Self { bias, ..self }
    }

    /// The same bias after another W [outputs, inputs].
    pub(crate) fn with_weight(&self, weight: &[f32], form: WeightForm) -> Self {
        Self::new(weight, self.inputs, form).with_bias(self.bias.clone())
    }

    /// Whether products take their inputs in eight bits.
    pub(crate) fn wants_codes(&self) -> bool {
        matches!(self.matrix, Matrix::Int8(_) | Matrix::FourBit(_))
    }

    /// y [rows, outputs] = x [rows, inputs] · Wᵀ + b. While it runs, what is `ahead` is brought nearer.
    pub(crate) fn forward(&self, input: &Input<'_>, y: &mut [f32], ahead: &Ahead<'_>) {
        let (rows, stride) = (input.rows(self.inputs), self.inputs);
        let out = Out { data: &mut *y, stride: self.outputs };
        let lhs = Lhs::Rows { data: input.x(), stride };
        match &self.matrix {
            Matrix::F32(matrix) => gemm(rows, lhs, matrix, out, Start::Zero),
            Matrix::Bf16(matrix) => matrix.multiply(rows, lhs, out, ahead),
            Matrix::Int8(matrix) => matrix.multiply(input.codes(), out, ahead),
            Matrix::FourBit(matrix) => matrix.multiply(input.codes(), out, ahead),
        }
        if let Some(bias) = &self.bias {
            for row in y.chunks_exact_mut(self.outputs) {
                row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        }
    }

    /// Memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        match &self.matrix {
            Matrix::F32(matrix) => matrix.bytes(),
            Matrix::Bf16(matrix) => matrix.bytes(),
            Matrix::Int8(matrix) => matrix.bytes(),
            Matrix::FourBit(matrix) => matrix.bytes(),
        }
    }
}
