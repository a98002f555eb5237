//! Where each matrix of an adapter stands in its flat vector.
//!
//! Curvature methods treat each matrix by itself. The order is that of
//! [`openledger_model::LoraLayout`]: layer, group (q k v | o | gate up | down), A of the group's sites,
//! then Bᵀ of each.

use std::ops::Range;

use openledger_model::{DecoderConfig, Site};

/// One matrix of an adapter: `rows` · `columns` numbers, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where it stands.
    pub range: Range<usize>,
    /// The rank.
    pub rows: usize,
    /// Inputs for A, outputs for Bᵀ.
    pub columns: usize,
}

/// The matrices of adapters of `rank` on `sites` of every layer, in the order of the layout.
pub fn blocks(config: &DecoderConfig, rank: usize, sites: &[Site]) -> Vec<Block> {
    let (h, f, heads) = (config.hidden_size, config.intermediate_size, config.heads());
    let (queries, keys) = (heads.query * heads.dim, heads.key_value * heads.dim);
    // Inputs, and the outputs of each site.
    let groups: [(usize, &[(Site, usize)]); 4] = [
        (h, &[(Site::Query, queries), (Site::Key, keys), (Site::Value, keys)]),
        (queries, &[(Site::Output, h)]),
        (h, &[(Site::Gate, f), (Site::Up, f)]),
        (f, &[(Site::Down, h)]),
    ];
    let mut all: Vec<Block> = Vec::new();
    let mut at = 0;
    for _ in 0..config.num_hidden_layers {
        for (inputs, group) in groups {
            let present = || group.iter().filter(|(site, _)| sites.contains(site));
            let columns = present().map(|_| inputs).chain(present().map(|(_, outputs)| *outputs));
            for columns in columns {
                all.push(Block { range: at..at + rank * columns, rows: rank, columns });
                at += rank * columns;
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use openledger_model::LoraLayout;

    #[test]
    fn the_blocks_tile_the_layout() {
        for sites in [&Site::ALL[..], &[Site::Key, Site::Up], &[Site::Down]] {
            let config = DecoderConfig::llama(32, 3, (4, 2), 24, 40, 64);
            let blocks = blocks(&config, 3, sites);
            let layout = LoraLayout::new(&config, 3, 6.0, sites);
            assert_eq!(blocks.last().map(|b| b.range.end), Some(layout.len()));
            assert!(blocks.windows(2).all(|pair| pair[0].range.end == pair[1].range.start));
            // B starts at zero, A does not: the two kinds are told apart.
            let values = layout.random(1);
            let zero = |b: &Block| values[b.range.clone()].iter().all(|x| *x == 0.0);
            assert_eq!(blocks.iter().filter(|b| zero(b)).count(), 3 * sites.len());
            assert_eq!(blocks.len(), 6 * sites.len());
        }
    }
}
