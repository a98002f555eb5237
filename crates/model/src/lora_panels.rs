//! An adapter packed for products, and the products.

use crate::lora::{Group, GroupLayout, LoraLayout, SiteLayout};
use openledger_tensor::{Lhs, Out, PackedMatrix, Start, gemm};
use std::ops::Range;

/// Packed low-rank matrices of every layer.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoraPanels {
    layers: Vec<[GroupPanels; 4]>,
}

/// Packed matrices of one group.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupPanels {
    /// Aᵀ [in, width].
    down: PackedMatrix,
    /// A [width, in]; only for training.
    down_backward: PackedMatrix,
    sites: Vec<SitePanels>,
    width: usize,
}

/// Packed matrices of one site.
#[derive(Clone, Debug, Default)]
struct SitePanels {
    /// Its first column in the output of the group, and in the low-rank state.
    offset: usize,
    first: usize,
    rank: usize,
    scale: f32,
    /// Bᵀ [rank, out].
    up: PackedMatrix,
    /// B [out, rank]; only for training.
    up_backward: PackedMatrix,
}

impl LoraPanels {
    pub(crate) fn new(layout: &LoraLayout, values: &[f32], backward: bool) -> Self {
        let mut panels = Self { layers: vec![Default::default(); layout.layers.len()] };
        panels.set(layout, values, backward);
        panels
    }

    /// Packs changed values again.
    pub(crate) fn set(&mut self, layout: &LoraLayout, values: &[f32], backward: bool) {
        let groups = layout.layers.iter().flatten();
        for (panels, group) in self.layers.iter_mut().flatten().zip(groups) {
            panels.set(group, values, backward);
        }
    }

    /// Memory of the panels.
    pub(crate) fn bytes(&self) -> usize {
        let site = |s: &SitePanels| s.up.bytes() + s.up_backward.bytes();
        let group = |g: &GroupPanels| {
            g.down.bytes() + g.down_backward.bytes() + g.sites.iter().map(site).sum::<usize>()
        };
        self.layers.iter().flatten().map(group).sum()
    }

    pub(crate) fn group(&self, layer: usize, group: Group) -> &GroupPanels {
        &self.layers[layer][group as usize]
    }
}

impl GroupPanels {
    fn set(&mut self, layout: &GroupLayout, values: &[f32], backward: bool) {
        let (inputs, width) = (layout.inputs, layout.width);
        self.width = width;
        let a = &values[layout.a.clone()];
        self.down.set_columns(a, inputs, width, inputs);
        if backward {
            self.down_backward.set_rows(a, width, inputs, inputs);
        }
        self.sites.resize_with(layout.sites.len(), Default::default);
        for (panels, site) in self.sites.iter_mut().zip(&layout.sites) {
            let b_transposed = &values[site.b_transposed.clone()];
            let SiteLayout { rank, outputs, .. } = *site;
            (panels.offset, panels.first) = (site.offset, site.first);
            (panels.rank, panels.scale) = (rank, site.scale);
            panels.up.set_rows(b_transposed, rank, outputs, outputs);
            if backward {
                panels.up_backward.set_columns(b_transposed, outputs, rank, outputs);
            }
        }
    }

    /// Multiplies the columns of each site in a low-rank state [rows, width] by its scale.
    fn scale(&self, low: &mut [f32]) {
        for row in low.chunks_exact_mut(self.width) {
            for site in &self.sites {
                row[site.first..][..site.rank].iter_mut().for_each(|u| *u *= site.scale);
            }
        }
    }
}

/// An adapter and the rows it acts on.
#[derive(Clone, Debug)]
pub(crate) struct AdaptedRows<'a> {
    pub(crate) rows: Range<usize>,
    pub(crate) panels: &'a LoraPanels,
}

/// Continues y [rows, outputs] with the low-rank updates of x [rows, inputs].
///
/// `low` receives scale · x · Aᵀ of all ranges, one after the other.
pub(crate) fn adapt(
    adapted: &[AdaptedRows<'_>],
    at: (usize, Group),
    x: (&[f32], usize),
    y: (&mut [f32], usize),
    low: &mut Vec<f32>,
) {
    low.clear();
    for AdaptedRows { rows, panels } in adapted {
        let group = panels.group(at.0, at.1);
        if group.width == 0 || rows.is_empty() {
            continue;
        }
        let from = low.len();
        low.resize(from + rows.len() * group.width, 0.0);
        let low = &mut low[from..];
        let x = Lhs::Rows { data: &x.0[rows.start * x.1..], stride: x.1 };
        gemm(rows.len(), x, &group.down, Out { data: low, stride: group.width }, Start::Zero);
        group.scale(low);
        for site in &group.sites {
            let u = Lhs::Rows { data: &low[site.first..], stride: group.width };
            let out = Out { data: &mut y.0[rows.start * y.1 + site.offset..], stride: y.1 };
            gemm(rows.len(), u, &site.up, out, Start::Continue);
        }
    }
}

/// Buffers of [`adapt_backward`].
#[derive(Debug, Default)]
pub(crate) struct LowRankScratch {
    packed: PackedMatrix,
    d_low: Vec<f32>,
}

/// Gradients of one group over all rows: overwrites its part of `gradients`, and continues dx with the
/// low-rank part where dx is wanted.
///
/// Shapes: x [rows, inputs], low [rows, width] as left by [`adapt`], dy [rows, outputs].
#[allow(clippy::too_many_arguments)]
pub(crate) fn adapt_backward(
    panels: &LoraPanels,
    layout: &GroupLayout,
    at: (usize, Group),
    rows: usize,
    x: &[f32],
    low: &[f32],
    dy: (&[f32], usize),
    dx: Option<&mut [f32]>,
    gradients: &mut [f32],
    scratch: &mut LowRankScratch,
) {
    let group = panels.group(at.0, at.1);
    let (width, inputs) = (group.width, layout.inputs);
    if width == 0 || rows == 0 {
        gradients[layout.a.clone()].fill(0.0);
        for site in &layout.sites {
            gradients[site.b_transposed.clone()].fill(0.0);
        }
        return;
    }
    let LowRankScratch { packed, d_low } = scratch;
    d_low.resize(rows * width, 0.0);
    for (site, panels) in layout.sites.iter().zip(&group.sites) {
        let dy_site = &dy.0[site.offset..];
        packed.set_rows(dy_site, rows, site.outputs, dy.1);
        let u = Lhs::Columns { data: &low[site.first..], stride: width };
        let d_b = Out { data: &mut gradients[site.b_transposed.clone()], stride: site.outputs };
        gemm(site.rank, u, &*packed, d_b, Start::Zero);
        let d_u = Out { data: &mut d_low[site.first..], stride: width };
        gemm(
            rows,
            Lhs::Rows { data: dy_site, stride: dy.1 },
            &panels.up_backward,
            d_u,
            Start::Zero,
        );
    }
    group.scale(d_low);
    packed.set_rows(x, rows, inputs, inputs);
    let d_a = Out { data: &mut gradients[layout.a.clone()], stride: inputs };
    gemm(width, Lhs::Columns { data: d_low, stride: width }, &*packed, d_a, Start::Zero);
    if let Some(dx) = dx {
        let d_u = Lhs::Rows { data: d_low, stride: width };
        gemm(rows, d_u, &group.down_backward, Out { data: dx, stride: inputs }, Start::Continue);
    }
}
