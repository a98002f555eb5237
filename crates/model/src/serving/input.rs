//! The rows that some linear layers share as their input.

use super::batch::BlendRows;
use super::linear::ServingLinear;
use crate::lora::Group;
use openledger_tensor::{
    Ahead, Int8Rows, LowRankForm, LowRankInput, LowRankRows, Out, low_rank_update,
};

/// Rows x, and in eight bits where the base or an adapter takes them so.
pub(crate) struct Input<'a> {
    x: &'a [f32],
    codes: Option<&'a Int8Rows>,
}

impl<'a> Input<'a> {
    /// All rows in f32.
    pub(crate) fn x(&self) -> &'a [f32] {
        self.x
    }

    /// Rows of so many inputs.
    pub(crate) fn rows(&self, inputs: usize) -> usize {
        self.x.len() / inputs
    }

    /// All rows in eight bits.
    pub(crate) fn codes(&self) -> &'a Int8Rows {
        self.codes.expect("quantised for whoever takes codes")
    }
}

/// y = x · Wᵀ and the low-rank updates of each row's blend, in its order.
///
/// While the product with the base runs, the adapters of these layers are brought nearer.
pub(crate) fn forward_adapted(
    linear: &ServingLinear,
    at: (usize, Group),
    blends: &[BlendRows<'_>],
    x: &[f32],
    codes: &mut Int8Rows,
    y: &mut [f32],
) {
    let mut jobs = Vec::new();
    for blend in blends {
        for (adapter, weight) in blend.adapters {
            let (shape, bytes) = adapter.group(at.0, at.1);
            if !shape.sites().is_empty() {
                let rows = blend.rows.clone();
                jobs.push(LowRankRows { rows, shape, bytes, weight: *weight });
            }
        }
    }
    let wanted = |job: &LowRankRows<'_>| job.shape.form() == LowRankForm::Int8;
    let codes = if linear.wants_codes() || jobs.iter().any(wanted) {
        codes.set(x, x.len() / linear.inputs, linear.inputs);
        Some(&*codes)
    } else {
        None
    };
    let soon: Vec<&[u8]> = jobs.iter().map(|job| job.bytes).collect();
    linear.forward(&Input { x, codes }, y, &Ahead::new(&soon));
    let out = Out { data: y, stride: linear.outputs };
    low_rank_update(&jobs, LowRankInput { x, codes }, out);
}
