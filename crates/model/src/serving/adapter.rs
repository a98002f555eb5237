//! An adapter in the form that serving takes it.

use super::adapter_file::{self, Header};
use crate::lora::Group;
use crate::{Adapter, DecoderConfig, Error, Site};
use openledger_tensor::{LowRankForm, LowRankShape, LowRankSite, PackedBytes};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

/// An adapter ready to serve: packed, in memory or mapped from a file. Share it behind an `Arc`.
#[derive(Debug)]
pub struct ServingAdapter {
    header: Header,
    /// [layer][group].
    layers: Vec<[GroupPart; 4]>,
    bytes: PackedBytes,
}

/// One group of one layer.
#[derive(Debug)]
struct GroupPart {
    shape: LowRankShape,
    bytes: Range<usize>,
}

impl ServingAdapter {
    /// Packs an adapter in bf16, which loses nothing.
    pub fn new(adapter: &Adapter) -> Self {
        Self::pack(adapter, LowRankForm::Bf16)
    }

    /// Packs an adapter.
    pub fn pack(adapter: &Adapter, form: LowRankForm) -> Self {
        let layout = &adapter.layout;
        // For each layer and group its inputs, its sites and their matrices.
        type Found<'a> = (usize, Vec<LowRankSite>, Vec<(&'a [f32], &'a [f32])>);
        let mut found: Vec<[Found<'_>; 4]> = Vec::new();
        found.resize_with(layout.layers.len(), Default::default);
        for (layer, site, a, b_transposed) in layout.pairs(&adapter.values) {
            let group = Group::ALL.into_iter().find(|g| g.sites().contains(&site.site));
            let group = group.expect("every site belongs to a group");
            let rank = b_transposed.len() / site.outputs;
            let (inputs, sites, matrices) = &mut found[layer][group as usize];
            *inputs = a.len() / rank;
            let (offset, outputs, scale) = (site.offset, site.outputs, site.scale);
            sites.push(LowRankSite { rank, offset, outputs, scale });
            matrices.push((a, b_transposed));
        }
        let shape = |(inputs, sites, _): &Found<'_>| LowRankShape::new(form, *inputs, sites);
        let header = Header {
            form,
            hash: adapter.hash(),
            base: [0; 32],
            groups: found.iter().map(|groups| groups.each_ref().map(shape)).collect(),
        };
        let (layers, start, len) = place(&header);
        let bytes = PackedBytes::new(len, |to| {
            for (parts, found) in layers.iter().flatten().zip(found.iter().flatten()) {
                parts.shape.pack(&found.2, &mut to[parts.bytes.clone()]);
            }
            adapter_file::write_header(&header, &mut to[..], start);
        });
        Self { header, layers, bytes }
    }

    /// Maps a packed file.
    ///
    /// Errors: those of [`Self::inspect`]; [`Error::Adapter`] if it was packed for another base than `base` (its
    /// [`Decoder::hash`](crate::Decoder::hash)).
    pub fn open(path: &Path, base: [u8; 32]) -> Result<Self, Error> {
        let adapter = Self::inspect(path)?;
        if adapter.header.base != base {
            return Err(Error::Adapter("it was packed for another base".into()));
        }
        Ok(adapter)
    }

    /// Maps a packed file, whatever base it was packed for.
    ///
    /// Errors: [`Error::File`]; [`Error::Adapter`] if it is no packed adapter of this version, has not the size
    /// that its header asks for, was damaged, or holds a number that is not finite.
    pub fn inspect(path: &Path) -> Result<Self, Error> {
        Self::from_packed(adapter_file::map(path)?)
    }

    /// As [`Self::inspect`], from the content of a file.
    pub(crate) fn from_packed(bytes: PackedBytes) -> Result<Self, Error> {
        let header = adapter_file::read_header(&bytes)?;
        let (layers, start, len) = place(&header);
        adapter_file::check(&bytes, start, len)?;
        for part in layers.iter().flatten() {
            if !part.shape.is_finite(&bytes[part.bytes.clone()]) {
                return Err(Error::Adapter("it holds a value that is not finite".into()));
            }
        }
        Ok(Self { header, layers, bytes })
    }

    /// Writes it to a file for [`Self::open`], whole or not at all. A function of the adapter, its form and
    /// the base.
    pub fn save(&self, path: &Path, base: [u8; 32]) -> Result<(), Error> {
        adapter_file::save(path, &self.bytes, base)
    }

    /// The content of the file that [`Self::save`] writes for a base of hash zero.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn packed(&self) -> &[u8] {
        &self.bytes
    }

    /// Identity: the hash of the adapter it was made from, [`Adapter::hash`].
    pub fn hash(&self) -> [u8; 32] {
        self.header.hash
    }

    /// The base it was packed for, zero before it was in a file.
    pub fn base(&self) -> [u8; 32] {
        self.header.base
    }

    /// Layers of the models it acts on.
    pub fn layer_count(&self) -> usize {
        self.layers.len()
    }

    /// The modules it acts on in any layer, as PEFT names them. Keys alone and values alone look the same in a
    /// file: that is `k_proj or v_proj`.
    pub fn targets(&self) -> Vec<&'static str> {
        let mut names = BTreeSet::new();
        for (part, group) in self.layers.iter().flat_map(|groups| groups.iter().zip(Group::ALL)) {
            names.extend(targets_of(group, part.shape.sites()));
        }
        let order = |name: &&str| Site::ALL.iter().position(|site| name.starts_with(site.name()));
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_by_key(order);
        names
    }

    /// How it is kept.
    pub fn form(&self) -> LowRankForm {
        self.header.form
    }

    /// Rows of A, the most of any site.
    pub fn rank(&self) -> usize {
        let sites = self.layers.iter().flatten().flat_map(|part| part.shape.sites());
        sites.map(|site| site.rank).max().unwrap_or(0)
    }

    /// Memory it takes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it acts on models of this shape.
    pub(crate) fn fits(&self, config: &DecoderConfig) -> bool {
        self.layers.len() == config.num_hidden_layers
            && self.layers.iter().all(|groups| {
                groups.iter().zip(Group::ALL).all(|(part, group)| {
                    let (inputs, _) = group.sites()[0].shape(config);
                    let outputs: usize = group.sites().iter().map(|s| s.shape(config).1).sum();
                    let fits = |s: &LowRankSite| s.offset + s.outputs <= outputs;
                    let sites = part.shape.sites();
                    sites.is_empty() || part.shape.inputs() == inputs && sites.iter().all(fits)
                })
            })
    }

    /// What acts on each layer: on queries, keys and values, on the output of attention, on gate and up, on down.
    pub fn layers(&self) -> impl Iterator<Item = [(&LowRankShape, &[u8]); 4]> {
        let part = |part: &'_ GroupPart| part.bytes.clone();
        self.layers.iter().map(move |groups| {
            groups.each_ref().map(|group| (&group.shape, &self.bytes[part(group)]))
        })
    }

    /// What acts on one group of one layer.
    pub(crate) fn group(&self, layer: usize, group: Group) -> (&LowRankShape, &[u8]) {
        let part = &self.layers[layer][group as usize];
        (&part.shape, &self.bytes[part.bytes.clone()])
    }
}

/// Which modules of a group these sites are: by where their outputs begin.
fn targets_of(group: Group, sites: &[LowRankSite]) -> Vec<&'static str> {
    let after_query = sites.iter().find(|site| site.offset == 0).map(|query| query.outputs);
    let later = sites.iter().filter(|site| site.offset > 0).count();
    let name = |(at, site): (usize, &LowRankSite)| match (group, site.offset) {
        (_, 0) => group.sites()[0].name(),
        (Group::Attention, from) => match after_query {
            Some(end) if later == 1 && from > end => Site::Value.name(),
            None if later == 1 => "k_proj or v_proj",
            _ if later == 2 && at + 1 == sites.len() => Site::Value.name(),
            _ => Site::Key.name(),
        },
        _ => group.sites()[group.sites().len() - 1].name(),
    };
    sites.iter().enumerate().map(name).collect()
}

/// Where each group's bytes are in a file with this header, where the first begins, and how long the file is.
fn place(header: &Header) -> (Vec<[GroupPart; 4]>, usize, usize) {
    let start = header.bytes();
    let mut at = start;
    let mut part = |shape: &LowRankShape| {
        let bytes = at..at + shape.bytes();
        at = bytes.end;
        GroupPart { shape: shape.clone(), bytes }
    };
    let layers = header.groups.iter().map(|groups| groups.each_ref().map(&mut part)).collect();
    (layers, start, at)
}
