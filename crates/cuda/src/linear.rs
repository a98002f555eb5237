//! The linear layers of the decoder on the device.

use crate::adapters::Pairs;
use crate::backend::{Backend, Buffer, Scratch};
use crate::kernels::{self, PADDED};
use crate::{DeviceForm, Error};
use openledger_model::to_bf16;
use std::sync::Arc;

/// y = x · Wᵀ + b.
#[derive(Debug)]
pub(crate) struct DeviceLinear {
    form: DeviceForm,
    weight: Buffer,
    bias: Option<Buffer>,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

/// Rows on their way through a product.
pub(crate) struct Product<'a> {
    pub(crate) x: &'a Buffer,
    pub(crate) y: &'a Buffer,
    pub(crate) rows: usize,
}

/// Memory that products need besides.
#[derive(Debug)]
pub(crate) struct ProductScratch {
    /// x in bf16.
    half: Scratch,
    /// x · A of each pair.
    low: Scratch,
}

impl ProductScratch {
    pub(crate) fn new(backend: &Arc<dyn Backend>) -> Result<Self, Error> {
        Ok(Self { half: Scratch::new(backend)?, low: Scratch::new(backend)? })
    }
}

/// A matrix [rows, columns] as the device keeps it.
pub(crate) fn upload(
    backend: &Arc<dyn Backend>,
    matrix: &[f32],
    columns: usize,
    form: DeviceForm,
) -> Result<Buffer, Error> {
    match form {
        DeviceForm::F32 => Buffer::of(backend, matrix),
        DeviceForm::Bf16 => {
            let stride = columns.next_multiple_of(PADDED);
            let buffer = Buffer::new(backend, matrix.len() / columns * stride * 2)?;
            // A piece at a time, so that the host needs no second copy of a large matrix.
            let piece = (8 << 20) / stride;
            for (at, rows) in matrix.chunks(piece.max(1) * columns).enumerate() {
                let mut half = vec![0u16; rows.len() / columns * stride];
                for (to, row) in half.chunks_exact_mut(stride).zip(rows.chunks_exact(columns)) {
                    to.iter_mut().zip(row).for_each(|(to, x)| *to = to_bf16(*x));
                }
                buffer.write(at * piece.max(1) * stride, &half)?;
            }
            Ok(buffer)
        }
    }
}

impl DeviceLinear {
    /// From W [outputs, inputs].
    pub(crate) fn new(
        backend: &Arc<dyn Backend>,
        weight: &[f32],
        bias: Option<&Vec<f32>>,
        inputs: usize,
        form: DeviceForm,
    ) -> Result<Self, Error> {
        Ok(Self {
            form,
            weight: upload(backend, weight, inputs, form)?,
            bias: bias.map(|b| Buffer::of(backend, b)).transpose()?,
            inputs,
            outputs: weight.len() / inputs,
        })
    }

    /// y [rows, outputs] = x [rows, inputs] · Wᵀ + b, and the updates of the rows' adapters.
    pub(crate) fn forward(
        &self,
        p: &Product<'_>,
        (pairs, group): (&Pairs, usize),
        scratch: &mut ProductScratch,
    ) -> Result<(), Error> {
        match self.form {
            DeviceForm::F32 => {
                kernels::gemm_f32(p.x, &self.weight, p.y, p.rows, self.inputs, self.outputs)?;
            }
            DeviceForm::Bf16 => {
                let half =
                    scratch.half.room::<u16>(p.rows * self.inputs.next_multiple_of(PADDED))?;
                kernels::round_rows(p.x, half, p.rows, self.inputs)?;
                kernels::gemm_bf16(half, &self.weight, p.y, p.rows, self.inputs, self.outputs)?;
            }
        }
        if let Some(bias) = &self.bias {
            kernels::add_bias(p.y, bias, p.rows)?;
        }
        let low = scratch.low.room::<f32>(pairs.count * pairs.width_max)?;
        let exact = self.form == DeviceForm::F32;
        kernels::low_rank(pairs, group, (p.x, self.inputs), low, (p.y, self.outputs), exact)
    }

    /// W, as the device keeps it.
    pub(crate) fn weight(&self) -> &Buffer {
        &self.weight
    }

    /// Memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.weight.bytes() + self.bias.as_ref().map_or(0, Buffer::bytes)
    }
}
