//! A trained adapter: rounded to bf16 as it is stored, packed for use, named by its hash.

use crate::lora_panels::LoraPanels;
use crate::weight_files::{from_bf16, to_bf16};
use crate::{Error, LoraLayout, Site};
use sha2::{Digest, Sha256};

/// An adapter of one base. Cheap to share behind a reference or an `Arc`.
#[derive(Debug)]
pub struct Adapter {
    pub(crate) layout: LoraLayout,
    /// In the order of the layout; every value is a bf16 value.
    pub(crate) values: Vec<f32>,
    pub(crate) panels: LoraPanels,
    hash: [u8; 32],
}

impl Adapter {
    /// From trained values, which are rounded to bf16: what is stored, served and scored are the
    /// rounded ones.
    ///
    /// Errors: [`Error::Adapter`] if a value is not finite.
    pub fn new(layout: LoraLayout, values: &[f32]) -> Result<Self, Error> {
        assert!(values.len() == layout.len(), "as many values as the layout has");
        let values: Vec<f32> = values.iter().map(|x| from_bf16(to_bf16(*x))).collect();
        if values.iter().any(|x| !x.is_finite()) {
            return Err(Error::Adapter("it holds a value that is not finite".into()));
        }
        let panels = LoraPanels::new(&layout, &values, false);
        let hash = hash(&layout, &values);
        Ok(Self { layout, values, panels, hash })
    }

    /// Identity of the adapter: SHA-256 over everything that decides its results.
    ///
    /// Over, integers as u32 and all little-endian: the text `openledger adapter 1`; layers, rank; alpha
    /// as f32; then for each layer and each site that is present, in the order q k v o gate up down: the
    /// layer, the site's name and a zero byte, A [rank, in] and B [out, rank], row-major, as bf16.
    ///
    /// Where ranks or scales differ from site to site, or the scale is not alpha / rank: the text `openledger
    /// adapter 2`; layers; then the same for each site, with its rank and its scale as f32 after the zero byte.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Rows of A, the largest of all sites.
    pub fn rank(&self) -> usize {
        self.layout.rank
    }

    /// The update is scaled by alpha / rank, where a site has no scale of its own.
    pub fn alpha(&self) -> f32 {
        self.layout.alpha
    }

    /// Linear layers it changes.
    pub fn sites(&self) -> &[Site] {
        &self.layout.sites
    }

    /// Memory it takes, about: the values, and packed in panels of sixteen.
    pub fn bytes(&self) -> usize {
        4 * self.values.len() + self.panels.bytes()
    }
}

/// B [out, rank] from Bᵀ [rank, out], or back.
pub(crate) fn transpose(rows: usize, columns: usize, x: &[f32]) -> Vec<f32> {
    (0..rows * columns).map(|i| x[(i % rows) * columns + i / rows]).collect()
}

fn hash(layout: &LoraLayout, values: &[f32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(if layout.uniform { b"openledger adapter 1" } else { b"openledger adapter 2" });
    hash.update((layout.layers.len() as u32).to_le_bytes());
    if layout.uniform {
        hash.update((layout.rank as u32).to_le_bytes());
        hash.update(layout.alpha.to_le_bytes());
    }
    let bf16 =
        |x: &[f32]| -> Vec<u8> { x.iter().flat_map(|x| to_bf16(*x).to_le_bytes()).collect() };
    for (layer, site, a, b_transposed) in layout.pairs(values) {
        hash.update((layer as u32).to_le_bytes());
        hash.update(site.site.name());
        hash.update([0]);
        if !layout.uniform {
            hash.update((site.rank as u32).to_le_bytes());
            hash.update(site.scale.to_le_bytes());
        }
        hash.update(bf16(a));
        hash.update(bf16(&transpose(site.rank, site.outputs, b_transposed)));
    }
    hash.finalize().into()
}
