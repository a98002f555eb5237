//! The matrices of a decoder in the form that products take them.
//!
//! **Invariant:** every form but bf16 gives the bits of an exact product with the weights it stands for.

use crate::{DecoderConfig, Weights};
use openledger_tensor::{
    Bf16Matrix, FourBitMatrix, Lhs, Out, PackedMatrix, Start, for_each_mut, gemm,
};
use std::cell::Cell;

/// One linear layer y = x · Wᵀ for the forward and, where wanted, the backward product.
#[derive(Clone, Debug, Default)]
pub(crate) struct Linear {
    form: Form,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

/// How a matrix W [out, in] is kept.
#[derive(Clone, Debug)]
enum Form {
    /// f32: Wᵀ [in, out], and W [out, in], which is empty where no gradients are wanted.
    Exact { forward: PackedMatrix, backward: PackedMatrix },
    /// The same in bf16, for jobs that give up fixed bits.
    Bf16 { forward: Bf16Matrix, backward: Bf16Matrix },
    /// Four bits a weight, widened for each product.
    FourBit(FourBitMatrix),
}

impl Default for Form {
    fn default() -> Self {
        Self::Exact { forward: PackedMatrix::default(), backward: PackedMatrix::default() }
    }
}

thread_local! {
    /// One widened matrix, row-major and packed.
    static WIDENED: Cell<(Vec<f32>, PackedMatrix)> = Cell::default();
}

impl Linear {
    fn set(&mut self, weight: &[f32], inputs: usize, backward_wanted: bool) {
        self.inputs = inputs;
        self.outputs = weight.len() / inputs;
        if !matches!(self.form, Form::Exact { .. }) {
            self.form = Form::default();
        }
        if let Form::Exact { forward, backward } = &mut self.form {
            forward.set_columns(weight, inputs, self.outputs, inputs);
            if backward_wanted {
                backward.set_rows(weight, self.outputs, inputs, inputs);
            }
        }
    }

    fn four_bit(matrix: FourBitMatrix) -> Self {
        let (inputs, outputs) = (matrix.columns(), matrix.rows());
        Self { form: Form::FourBit(matrix), inputs, outputs }
    }

    /// The same in bf16; `None` where the machine has no such products.
    fn to_bf16(&self) -> Option<Self> {
        let form = match &self.form {
            Form::Exact { forward, backward } => Form::Bf16 {
                forward: Bf16Matrix::from_packed(forward)?,
                backward: Bf16Matrix::from_packed(backward)?,
            },
            Form::Bf16 { .. } => self.form.clone(),
            Form::FourBit(matrix) => {
                let mut widened = Vec::new();
                matrix.dequantise(&mut widened);
                let mut exact = Self::default();
                exact.set(&widened, self.inputs, true);
                return exact.to_bf16();
            }
        };
        Some(Self { form, inputs: self.inputs, outputs: self.outputs })
    }

    /// W [out, in] as it is multiplied; `None` in bf16.
    pub(crate) fn weight(&self) -> Option<Vec<f32>> {
        match &self.form {
            Form::Exact { forward, .. } => Some(forward.to_columns()),
            Form::Bf16 { .. } => None,
            Form::FourBit(matrix) => {
                let mut wide = Vec::new();
                matrix.dequantise(&mut wide);
                Some(wide)
            }
        }
    }

    /// y [rows, out] = x [rows, in] · Wᵀ.
    pub(crate) fn forward(&self, rows: usize, x: &[f32], y: &mut [f32]) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let (lhs, out) = (Lhs::Rows { data: x, stride: inputs }, Out { data: y, stride: outputs });
        match &self.form {
            Form::Exact { forward, .. } => gemm(rows, lhs, forward, out, Start::Zero),
            Form::Bf16 { forward, .. } => forward.multiply(rows, x, inputs, out),
            Form::FourBit(matrix) => {
                let (mut wide, mut packed) = WIDENED.take();
                matrix.dequantise(&mut wide);
                packed.set_columns(&wide, inputs, outputs, inputs);
                gemm(rows, lhs, &packed, out, Start::Zero);
                WIDENED.set((wide, packed));
            }
        }
    }

    /// dx [rows, in] = dy [rows, out] · W.
    pub(crate) fn backward(&self, rows: usize, dy: &[f32], dx: &mut [f32]) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let (lhs, out) =
            (Lhs::Rows { data: dy, stride: outputs }, Out { data: dx, stride: inputs });
        match &self.form {
            Form::Exact { backward, .. } => gemm(rows, lhs, backward, out, Start::Zero),
            Form::Bf16 { backward, .. } => backward.multiply(rows, dy, outputs, out),
            Form::FourBit(matrix) => {
                let (mut wide, mut packed) = WIDENED.take();
                matrix.dequantise(&mut wide);
                packed.set_rows(&wide, outputs, inputs, inputs);
                gemm(rows, lhs, &packed, out, Start::Zero);
                WIDENED.set((wide, packed));
            }
        }
    }

    /// Memory it takes.
    fn bytes(&self) -> usize {
        match &self.form {
            Form::Exact { forward, backward } => forward.bytes() + backward.bytes(),
            Form::Bf16 { forward, backward } => forward.bytes() + backward.bytes(),
            Form::FourBit(matrix) => matrix.bytes(),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct LayerPanels {
    pub(crate) qkv: Linear,
    pub(crate) output: Linear,
    pub(crate) gate_up: Linear,
    pub(crate) down: Linear,
}

impl LayerPanels {
    /// Queries, keys and values; output; gate and up; down: in the order of `Group`.
    pub(crate) fn all(&self) -> [&Linear; 4] {
        [&self.qkv, &self.output, &self.gate_up, &self.down]
    }
}

/// Every matrix of a decoder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Panels {
    pub(crate) layers: Vec<LayerPanels>,
    pub(crate) head: Linear,
}

impl Panels {
    pub(crate) fn new(config: &DecoderConfig, weights: &Weights, backward: bool) -> Self {
        let layers = vec![LayerPanels::default(); config.num_hidden_layers];
        let mut panels = Self { layers, head: Linear::default() };
        panels.set(config, weights, backward);
        panels
    }

    /// Quantises the matrices of all layers to four bits and sets `weights` to what these stand for. The
    /// output matrix stays as it is.
    pub(crate) fn four_bit(config: &DecoderConfig, weights: &mut Weights, backward: bool) -> Self {
        let (h, f) = (config.hidden_size, config.intermediate_size);
        let heads = config.heads();
        let quantise = |w: &mut Vec<f32>, inputs: usize| {
            let matrix = FourBitMatrix::quantise(w, w.len() / inputs, inputs);
            matrix.dequantise(w);
            Linear::four_bit(matrix)
        };
        let mut head = Linear::default();
        head.set(weights.head.as_ref().unwrap_or(&weights.embedding), h, backward);
        let layers = weights.layers.iter_mut().map(|w| LayerPanels {
            qkv: quantise(&mut w.qkv, h),
            output: quantise(&mut w.output, heads.query * heads.dim),
            gate_up: quantise(&mut w.gate_up, h),
            down: quantise(&mut w.down, f),
        });
        Self { layers: layers.collect(), head }
    }

    /// Packs changed weights again.
    pub(crate) fn set(&mut self, config: &DecoderConfig, weights: &Weights, backward: bool) {
        let (h, f) = (config.hidden_size, config.intermediate_size);
        let heads = config.heads();
        let attention = heads.query * heads.dim;
        let mut jobs: Vec<(&mut Linear, &[f32], usize)> = Vec::new();
        for (p, w) in self.layers.iter_mut().zip(&weights.layers) {
            jobs.push((&mut p.qkv, &w.qkv, h));
            jobs.push((&mut p.output, &w.output, attention));
            jobs.push((&mut p.gate_up, &w.gate_up, h));
            jobs.push((&mut p.down, &w.down, f));
        }
        jobs.push((&mut self.head, weights.head.as_ref().unwrap_or(&weights.embedding), h));
        for_each_mut(&mut jobs, |(linear, weight, inputs)| linear.set(weight, *inputs, backward));
    }

    /// The same in bf16; `None` where the machine has no such products.
    pub(crate) fn to_bf16(&self) -> Option<Self> {
        let layer = |l: &LayerPanels| {
            Some(LayerPanels {
                qkv: l.qkv.to_bf16()?,
                output: l.output.to_bf16()?,
                gate_up: l.gate_up.to_bf16()?,
                down: l.down.to_bf16()?,
            })
        };
        let layers = self.layers.iter().map(layer).collect::<Option<_>>()?;
        Some(Self { layers, head: self.head.to_bf16()? })
    }

    /// Memory they take.
    pub(crate) fn bytes(&self) -> usize {
        let layers = self.layers.iter().flat_map(LayerPanels::all).map(Linear::bytes);
        layers.sum::<usize>() + self.head.bytes()
    }
}
