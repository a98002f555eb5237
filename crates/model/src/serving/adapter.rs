//! An adapter in the form that serving takes it.

use crate::lora::Group;
use crate::{Adapter, DecoderConfig};
use openledger_tensor::{Lhs, Out, PackedMatrix, Start, gemm};

/// An adapter ready to serve. Share it behind an `Arc`.
#[derive(Debug)]
pub struct ServingAdapter {
    hash: [u8; 32],
    rank: usize,
    layers: Vec<[GroupPanels; 4]>,
}

/// Sites of one layer that share an input.
#[derive(Debug, Default)]
struct GroupPanels {
    inputs: usize,
    /// Each site: scale, first output column, Aᵀ [inputs, rank], Bᵀ [rank, outputs].
    sites: Vec<(f32, usize, PackedMatrix, PackedMatrix)>,
}

impl ServingAdapter {
    /// Packs an adapter.
    pub fn new(adapter: &Adapter) -> Self {
        let layout = &adapter.layout;
        let mut layers: Vec<[GroupPanels; 4]> = Vec::new();
        layers.resize_with(layout.layers.len(), Default::default);
        for (layer, site, a, b_transposed) in layout.pairs(&adapter.values) {
            let group = Group::ALL.into_iter().find(|g| g.sites().contains(&site.site));
            let group = group.expect("every site belongs to a group");
            let rank = b_transposed.len() / site.outputs;
            let inputs = a.len() / rank;
            let to = &mut layers[layer][group as usize];
            to.inputs = inputs;
            to.sites.push((
                layout.scale(),
                site.offset,
                PackedMatrix::from_columns(a, inputs, rank, inputs),
                PackedMatrix::from_rows(b_transposed, rank, site.outputs, site.outputs),
            ));
        }
        Self { hash: adapter.hash(), rank: adapter.rank(), layers }
    }

    /// Identity: the hash of the adapter it was made from.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Rows of A, the most of any site.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Memory it takes.
    pub fn bytes(&self) -> usize {
        let sites = self.layers.iter().flatten().flat_map(|g| &g.sites);
        sites.map(|(_, _, a, b)| a.bytes() + b.bytes()).sum()
    }

    /// Whether it acts on models of this shape.
    pub(crate) fn fits(&self, config: &DecoderConfig) -> bool {
        self.layers.len() == config.num_hidden_layers
            && self.layers.iter().all(|groups| {
                groups.iter().zip(Group::ALL).all(|(panels, group)| {
                    let (inputs, _) = group.sites()[0].shape(config);
                    let outputs: usize = group.sites().iter().map(|s| s.shape(config).1).sum();
                    let fits = |(_, offset, _, b): &(f32, usize, PackedMatrix, PackedMatrix)| {
                        offset + b.columns() <= outputs
                    };
                    panels.sites.is_empty()
                        || panels.inputs == inputs && panels.sites.iter().all(fits)
                })
            })
    }

    /// Continues y [rows, stride] with weight · scale · (x · Aᵀ) · Bᵀ, x [rows, inputs].
    pub(crate) fn adapt(
        &self,
        at: (usize, Group),
        rows: usize,
        x: &[f32],
        y: (&mut [f32], usize),
        weight: f32,
        low: &mut Vec<f32>,
    ) {
        let panels = &self.layers[at.0][at.1 as usize];
        for (scale, offset, a, b) in &panels.sites {
            let rank = a.columns();
            low.clear();
            low.resize(rows * rank, 0.0);
            let x = Lhs::Rows { data: x, stride: panels.inputs };
            gemm(rows, x, a, Out { data: low, stride: rank }, Start::Zero);
            let scale = scale * weight;
            low.iter_mut().for_each(|u| *u *= scale);
            let u = Lhs::Rows { data: low, stride: rank };
            let out = Out { data: &mut y.0[*offset..], stride: y.1 };
            gemm(rows, u, b, out, Start::Continue);
        }
    }
}
