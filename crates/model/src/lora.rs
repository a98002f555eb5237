//! Low-rank updates of the linear layers: where they sit and how their numbers are laid out.
//!
//! y = x · Wᵀ + scale · (x · Aᵀ) · Bᵀ, A [rank, in], B [out, rank]; scale = alpha / rank in the paper (2106.09685),
//! alpha / √rank where rank-stabilised (2312.03732). Rank and scale may differ from site to site.

use crate::peft_config::SiteUpdate;
use crate::{DecoderConfig, Error};
use openledger_tensor::Random;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Largest rank of an adapter.
pub const RANK_MAX: usize = 256;

/// A linear layer that can carry a low-rank update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Site {
    /// Queries.
    #[serde(rename = "q_proj")]
    Query,
    /// Keys.
    #[serde(rename = "k_proj")]
    Key,
    /// Values.
    #[serde(rename = "v_proj")]
    Value,
    /// Output of attention.
    #[serde(rename = "o_proj")]
    Output,
    /// Gate of the feed-forward layer.
    #[serde(rename = "gate_proj")]
    Gate,
    /// Its other half.
    #[serde(rename = "up_proj")]
    Up,
    /// Its way back to the residual stream.
    #[serde(rename = "down_proj")]
    Down,
}

impl Site {
    /// All sites, in the order of everything that lists them.
    pub const ALL: [Self; 7] =
        [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];

    /// The name in `target_modules`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "q_proj",
            Self::Key => "k_proj",
            Self::Value => "v_proj",
            Self::Output => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// The name inside a layer: `self_attn.q_proj`.
    pub(crate) fn path(self) -> String {
        let part = if self <= Self::Output { "self_attn" } else { "mlp" };
        format!("{part}.{}", self.name())
    }

    /// (inputs, outputs).
    pub(crate) fn shape(self, config: &DecoderConfig) -> (usize, usize) {
        let (h, f, heads) = (config.hidden_size, config.intermediate_size, config.heads());
        match self {
            Self::Query => (h, heads.query * heads.dim),
            Self::Key | Self::Value => (h, heads.key_value * heads.dim),
            Self::Output => (heads.query * heads.dim, h),
            Self::Gate | Self::Up => (h, f),
            Self::Down => (f, h),
        }
    }
}

/// Linear layers that share an input and are computed as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Attention = 0,
    Output = 1,
    GateUp = 2,
    Down = 3,
}

impl Group {
    pub(crate) const ALL: [Self; 4] = [Self::Attention, Self::Output, Self::GateUp, Self::Down];

    pub(crate) fn sites(self) -> &'static [Site] {
        match self {
            Self::Attention => &[Site::Query, Site::Key, Site::Value],
            Self::Output => &[Site::Output],
            Self::GateUp => &[Site::Gate, Site::Up],
            Self::Down => &[Site::Down],
        }
    }
}

/// Where each number of an adapter stands in one flat vector, so that optimiser state and hashes are
/// plain slices.
///
/// Order: layer, group (q k v | o | gate up | down), A of the group's sites stacked [sum of ranks, in],
/// then for each site Bᵀ [rank, out].
#[derive(Clone, Debug, PartialEq)]
pub struct LoraLayout {
    /// The largest of all sites.
    pub(crate) rank: usize,
    pub(crate) alpha: f32,
    /// Whether every layer has all `sites`, of that rank, scaled by alpha / rank.
    pub(crate) uniform: bool,
    pub(crate) sites: Vec<Site>,
    /// [layer][group].
    pub(crate) layers: Vec<[GroupLayout; 4]>,
    pub(crate) len: usize,
}

/// One group of one layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GroupLayout {
    pub(crate) inputs: usize,
    /// Width of the low-rank state: the ranks of all sites.
    pub(crate) width: usize,
    pub(crate) a: Range<usize>,
    pub(crate) sites: Vec<SiteLayout>,
}

/// One site of a group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SiteLayout {
    pub(crate) site: Site,
    /// First column of the group's output.
    pub(crate) offset: usize,
    pub(crate) outputs: usize,
    pub(crate) rank: usize,
    /// Factor of the update.
    pub(crate) scale: f32,
    /// First row of A among those of the group.
    pub(crate) first: usize,
    pub(crate) b_transposed: Range<usize>,
}

impl LoraLayout {
    /// For adapters of this rank on these sites of every layer.
    pub fn new(config: &DecoderConfig, rank: usize, alpha: f32, sites: &[Site]) -> Self {
        let update = SiteUpdate { rank, scale: alpha / rank as f32 };
        let here = |_, site| Ok(sites.contains(&site).then_some(update));
        let layout = Self::of(config, alpha, here).expect("the rule gives no error");
        Self { rank, ..layout }
    }

    /// For adapters whose sites a rule names, by layer.
    ///
    /// Errors: those of the rule.
    pub(crate) fn of(
        config: &DecoderConfig,
        alpha: f32,
        rule: impl Fn(usize, Site) -> Result<Option<SiteUpdate>, Error>,
    ) -> Result<Self, Error> {
        let mut layout =
            Self { rank: 0, alpha, uniform: true, sites: Vec::new(), layers: Vec::new(), len: 0 };
        for layer in 0..config.num_hidden_layers {
            let mut groups = Vec::with_capacity(Group::ALL.len());
            for group in Group::ALL {
                groups.push(layout.group(config, group, |site| rule(layer, site))?);
            }
            layout.layers.push(groups.try_into().expect("as many as there are groups"));
        }
        layout.sites.sort_unstable();
        let update = SiteUpdate { rank: layout.rank, scale: alpha / layout.rank as f32 };
        layout.uniform = layout.layers.iter().all(|groups| {
            let sites = || groups.iter().flat_map(|group| &group.sites);
            sites().count() == layout.sites.len()
                && sites().all(|s| SiteUpdate { rank: s.rank, scale: s.scale } == update)
        });
        Ok(layout)
    }

    /// Appends one group.
    fn group(
        &mut self,
        config: &DecoderConfig,
        group: Group,
        rule: impl Fn(Site) -> Result<Option<SiteUpdate>, Error>,
    ) -> Result<GroupLayout, Error> {
        let inputs = group.sites()[0].shape(config).0;
        let (mut offset, mut width) = (0, 0);
        let mut sites = Vec::new();
        for site in group.sites() {
            let outputs = site.shape(config).1;
            if let Some(SiteUpdate { rank, scale }) = rule(*site)? {
                let (first, b_transposed) = (width, 0..rank * outputs);
                sites.push(SiteLayout {
                    site: *site,
                    offset,
                    outputs,
                    rank,
                    scale,
                    first,
                    b_transposed,
                });
                width += rank;
                self.rank = self.rank.max(rank);
                if !self.sites.contains(site) {
                    self.sites.push(*site);
                }
            }
            offset += outputs;
        }
        let a = self.len..self.len + width * inputs;
        self.len = a.end;
        for site in &mut sites {
            site.b_transposed = self.len..self.len + site.b_transposed.len();
            self.len = site.b_transposed.end;
        }
        Ok(GroupLayout { inputs, width, a, sites })
    }

    /// Numbers in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no sites.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether adapters of this layout act on models of this shape.
    pub(crate) fn fits(&self, config: &DecoderConfig) -> bool {
        self.layers.len() == config.num_hidden_layers
            && self.layers.iter().all(|groups| {
                groups.iter().zip(Group::ALL).all(|(layout, group)| {
                    layout.inputs == group.sites()[0].shape(config).0
                        && layout.sites.iter().all(|s| s.outputs == s.site.shape(config).1)
                })
            })
    }

    /// Fresh values: A uniform in ±1/√in, B zero, as PEFT does. One random stream per layer and group.
    pub fn random(&self, seed: u64) -> Vec<f32> {
        let mut values = vec![0.0; self.len];
        for (stream, group) in self.layers.iter().flatten().enumerate() {
            let mut random = Random::new(seed, stream as u64);
            let bound = 1.0 / (group.inputs as f32).sqrt();
            for x in &mut values[group.a.clone()] {
                *x = (2.0 * random.uniform() - 1.0) * bound;
            }
        }
        values
    }

    /// Layer, site, A [rank, in] and Bᵀ [rank, out] of every site, in canonical order.
    pub(crate) fn pairs<'a>(
        &'a self,
        values: &'a [f32],
    ) -> impl Iterator<Item = (usize, &'a SiteLayout, &'a [f32], &'a [f32])> {
        self.layers.iter().enumerate().flat_map(move |(layer, groups)| {
            groups.iter().flat_map(move |group| {
                group.sites.iter().map(move |site| {
                    let a = &values[group.a.clone()][site.first * group.inputs..];
                    let a = &a[..site.rank * group.inputs];
                    (layer, site, a, &values[site.b_transposed.clone()])
                })
            })
        })
    }
}
