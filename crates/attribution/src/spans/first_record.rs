//! The distinct records of a range of suffixes, without looking at each suffix.

/// Entries per block of the sparse table.
const BLOCK: usize = 64;

/// For each suffix, in the order of the suffix array, where the record it lies in occurred before.
///
/// A suffix is the first of its record within a range exactly if that record did not occur in the
/// range before it. So the smallest entry of a range finds a record, and the ranges beside it the
/// others: time per distinct record, not per occurrence, whatever the text repeats.
///
/// Source: Muthukrishnan 2002, "Efficient algorithms for document retrieval problems", §3.
#[derive(Debug, Clone)]
pub(super) struct FirstOfRecord {
    /// 1 + the previous place of the same record, 0 if there is none.
    previous: Vec<u32>,
    /// `places[k][b]`: place of the smallest entry in blocks b .. b + 2ᵏ.
    places: Vec<Vec<u32>>,
}

impl FirstOfRecord {
    /// `records`: the record of each suffix, in the order of the suffix array; `count` of them.
    pub(super) fn new(records: impl Iterator<Item = u32>, count: usize) -> Self {
        let mut last = vec![0u32; count];
        let previous: Vec<u32> = records
            .zip(1u32..)
            .map(|(record, place)| core::mem::replace(&mut last[record as usize], place))
            .collect();
        let least = |a: u32, b: u32| {
            if previous[b as usize] < previous[a as usize] { b } else { a }
        };
        let first: Vec<u32> = (0..previous.len())
            .step_by(BLOCK)
            .map(|start| {
                let end = (start + BLOCK).min(previous.len());
                (start as u32..end as u32).reduce(least).unwrap_or(start as u32)
            })
            .collect();
        let mut places = vec![first];
        for level in 0.. {
            let (below, reach) = (&places[level], 1usize << level);
            if below.len() <= reach {
                break;
            }
            let above = (reach..below.len()).map(|b| least(below[b - reach], below[b])).collect();
            places.push(above);
        }
        Self { previous, places }
    }

    /// One place for each distinct record in `start..end`, at most `limit` of them.
    pub(super) fn of_range(&self, start: usize, end: usize, limit: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut ranges = vec![(start, end)];
        while let Some((left, right)) = ranges.pop() {
            let Some(place) = self.least(left, right) else { continue };
            if self.previous[place] as usize > start {
                continue;
            }
            found.push(place);
            if found.len() == limit {
                break;
            }
            ranges.push((place + 1, right));
            ranges.push((left, place));
        }
        found
    }

    /// Place of the smallest entry in `start..end`.
    fn least(&self, start: usize, end: usize) -> Option<usize> {
        let smallest = |places: core::ops::Range<usize>| places.min_by_key(|p| self.previous[*p]);
        let (first, last) = (start.div_ceil(BLOCK), end / BLOCK);
        if first >= last {
            return smallest(start..end);
        }
        let level = (last - first).ilog2() as usize;
        let blocks = [self.places[level][first], self.places[level][last - (1 << level)]];
        let ends = [smallest(start..first * BLOCK), smallest(last * BLOCK..end)];
        let inner = blocks.into_iter().map(|place| place as usize);
        inner.chain(ends.into_iter().flatten()).min_by_key(|place| self.previous[*place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn each_record_of_a_range_is_found_once(
            records in prop::collection::vec(0u32..40, 1..1_500),
            ends in any::<(prop::sample::Index, prop::sample::Index)>(),
            limit in 1usize..60,
        ) {
            let (a, b) = (ends.0.index(records.len()), ends.1.index(records.len() + 1));
            let (start, end) = (a.min(b), a.max(b));
            let found = FirstOfRecord::new(records.iter().copied(), 40).of_range(start, end, limit);
            prop_assert!(found.iter().all(|place| (start..end).contains(place)));
            let distinct: BTreeSet<u32> = found.iter().map(|place| records[*place]).collect();
            let expected: BTreeSet<u32> = records[start..end].iter().copied().collect();
            prop_assert_eq!(distinct.len(), found.len());
            prop_assert_eq!(found.len(), expected.len().min(limit));
        }
    }
}
