//! A copy of the base with a blend added to its weights: W + Σ weight · scale · B · A.
//!
//! Such a copy answers without the products of its adapters, and costs the memory of the matrices they act on.
//! Its sums are rounded elsewhere than those of base and update apart, so its logits are near theirs, not equal.

use super::batch::check_blend;
use super::{ServingAdapter, ServingDecoder};
use crate::lora::Group;
use crate::{Decoder, Error};
use openledger_tensor::{Lhs, Out, PackedMatrix, Start, gemm};
use std::sync::Arc;

impl ServingDecoder {
    /// This decoder with a blend merged in, its matrices in the same form. `base` is the same model in exact
    /// form: from it come the weights, so that nothing is rounded twice. Matrices that no adapter acts on are
    /// shared.
    ///
    /// Errors: [`Error::Request`] if `base` is another model, if the blend is too large, holds an adapter of
    /// another shape, or takes a weight beyond what is finite.
    pub fn merged(
        &self,
        base: &Decoder,
        blend: &[(Arc<ServingAdapter>, f32)],
    ) -> Result<Self, Error> {
        if base.config() != self.config() {
            return Err(Error::Request("the exact base is another model".into()));
        }
        check_blend(self.config(), blend)?;
        let mut layers = Vec::new();
        for (index, matrices) in self.matrices().enumerate() {
            let mut merged = matrices.map(Arc::clone);
            for group in Group::ALL {
                if acts(blend, index, group) {
                    let weight = merged_weight(base, blend, index, group)?;
                    let matrix = &mut merged[group as usize];
                    *matrix = Arc::new(matrix.with_weight(&weight, self.weight_form()));
                }
            }
            layers.push(merged);
        }
        Ok(self.with_matrices(layers))
    }

    /// Memory that [`Self::merged`] takes for this blend, beside this decoder's.
    pub fn merged_bytes(&self, blend: &[(Arc<ServingAdapter>, f32)]) -> usize {
        let mut bytes = 0;
        for (index, matrices) in self.matrices().enumerate() {
            let acted_on = Group::ALL.into_iter().filter(|group| acts(blend, index, *group));
            bytes += acted_on.map(|group| matrices[group as usize].bytes()).sum::<usize>();
        }
        bytes
    }
}

/// Whether an adapter of the blend acts on a matrix.
fn acts(blend: &[(Arc<ServingAdapter>, f32)], layer: usize, group: Group) -> bool {
    blend
        .iter()
        .any(|(a, _)| layer < a.layer_count() && !a.group(layer, group).0.sites().is_empty())
}

/// W [outputs, inputs] of one matrix with all updates added.
fn merged_weight(
    base: &Decoder,
    blend: &[(Arc<ServingAdapter>, f32)],
    layer: usize,
    group: Group,
) -> Result<Vec<f32>, Error> {
    let linear = base.panels.layers[layer].all()[group as usize];
    let mut weight = linear.weight().ok_or_else(|| {
        Error::Request("the exact base is in bf16, nothing is merged there".into())
    })?;
    for (adapter, factor) in blend {
        let (shape, bytes) = adapter.group(layer, group);
        let pairs = shape
            .unpack(bytes)
            .ok_or_else(|| Error::Request("the adapter holds a value that is not finite".into()))?;
        for (site, (a, mut b)) in shape.sites().iter().zip(pairs) {
            b.iter_mut().for_each(|x| *x *= factor);
            let a = PackedMatrix::from_rows(&a, site.rank, linear.inputs, linear.inputs);
            let b = Lhs::Columns { data: &b, stride: site.outputs };
            let rows = &mut weight[site.offset * linear.inputs..];
            let out = Out { data: rows, stride: linear.inputs };
            gemm(site.outputs, b, &a, out, Start::Continue);
        }
    }
    if weight.iter().any(|x| !x.is_finite()) {
        return Err(Error::Request("merged, a weight would not be finite".into()));
    }
    Ok(weight)
}
