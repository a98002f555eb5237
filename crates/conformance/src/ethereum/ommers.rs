//! Whether a block may have the uncles that it has.

use std::collections::HashSet;

use alloy_consensus::Header;
use alloy_primitives::B256;

/// Uncles of one block.
const OMMERS_MAX: usize = 2;
/// How many generations up an uncle's parent may be.
pub(super) const GENERATIONS_MAX: usize = 6;

/// A block above the one that is checked.
pub(super) struct Ancestor<'a> {
    pub(super) hash: B256,
    pub(super) header: &'a Header,
    pub(super) ommers: &'a [B256],
}

/// Checks the uncles of a block whose ancestors, the parent first, are `ancestors` (seven of them or
/// as many as there are). `follows` tells whether a header may follow its parent.
///
/// Errors: the rule that an uncle breaks.
pub(super) fn check(
    ommers: &[Header],
    ancestors: &[Ancestor<'_>],
    follows: impl Fn(&Header, &Header) -> Result<(), String>,
) -> Result<(), String> {
    if ommers.len() > OMMERS_MAX {
        return Err("too many uncles".to_owned());
    }
    let chain: HashSet<B256> = ancestors.iter().map(|ancestor| ancestor.hash).collect();
    let mut known: HashSet<B256> =
        ancestors.iter().flat_map(|ancestor| ancestor.ommers).copied().collect();
    for ommer in ommers {
        let hash = ommer.hash_slow();
        if !known.insert(hash) {
            return Err("an uncle that was rewarded already".to_owned());
        }
        if chain.contains(&hash) {
            return Err("an uncle that is an ancestor".to_owned());
        }
        // The parent's own children are brothers, not uncles.
        let parents = ancestors.iter().skip(1).take(GENERATIONS_MAX);
        let parent = parents
            .into_iter()
            .find(|ancestor| ancestor.hash == ommer.parent_hash)
            .ok_or("an uncle whose parent is no recent ancestor")?;
        follows(ommer, parent.header).map_err(|error| format!("uncle: {error}"))?;
    }
    Ok(())
}
