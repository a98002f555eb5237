//! Binary search in a suffix array.

use core::cmp::Ordering;
use core::ops::Range;

/// Length of the longest prefix of `pattern` that begins some suffix.
///
/// `text`: symbols, 0 at record ends, else token + 1. `suffixes`: positions in `text`, sorted.
/// One lower-bound search that carries the common prefixes with both ends of the range, so that no
/// symbol of `pattern` is compared twice along a side.
pub(super) fn longest_prefix(text: &[u32], suffixes: &[u32], pattern: &[u32]) -> usize {
    let (mut low, mut high) = (0, suffixes.len());
    // Common prefix of `pattern` with the suffixes just below `low` and at `high`.
    let (mut below, mut above) = (0, 0);
    while low < high {
        let middle = (low + high) / 2;
        let suffix = &text[suffixes[middle] as usize..];
        let known = below.min(above);
        let common = known + common_prefix(&suffix[known..], &pattern[known..]);
        if order(suffix, pattern, common) == Ordering::Less {
            (low, below) = (middle + 1, common);
        } else {
            (high, above) = (middle, common);
        }
    }
    below.max(above)
}

/// The suffixes that begin with `span`.
pub(super) fn holding(text: &[u32], suffixes: &[u32], span: &[u32]) -> Range<usize> {
    let against_span = |position: &u32| {
        let suffix = &text[*position as usize..];
        order(suffix, span, common_prefix(suffix, span))
    };
    let start = suffixes.partition_point(|s| against_span(s) == Ordering::Less);
    let count = suffixes[start..].partition_point(|s| against_span(s) == Ordering::Equal);
    start..start + count
}

/// How a suffix compares with a pattern whose first `common` tokens it shares; equal if that is all of
/// the pattern.
fn order(suffix: &[u32], pattern: &[u32], common: usize) -> Ordering {
    match pattern.get(common) {
        None => Ordering::Equal,
        // Every suffix runs into the end of its record, where the token before 0 is `None`: below all.
        Some(token) => suffix[common].checked_sub(1).cmp(&Some(*token)),
    }
}

fn common_prefix(suffix: &[u32], pattern: &[u32]) -> usize {
    suffix.iter().zip(pattern).take_while(|(s, p)| s.checked_sub(1) == Some(**p)).count()
}
