//! Which contributors write about the same things.

use std::collections::{BTreeMap, BTreeSet};

use super::super::explanation::words;

/// Numbers the content clusters of contributors: who has the same number is of one cluster.
///
/// `texts`: the records of each contributor. Every contributor begins as a cluster; while there are more
/// than `clusters_max`, the two whose contributors are most alike on average become one. Two
/// contributors are as alike as the weight of the words that both use is to that of the words that
/// either uses, a word weighing the more the fewer use it. Integers only; ties go to the earlier, so the
/// result depends on nothing but the arguments. Words that everybody uses weigh nothing.
///
/// Time: cubic in the contributors.
pub fn content_clusters(texts: &[Vec<&str>], clusters_max: usize) -> Vec<u32> {
    let vocabularies: Vec<BTreeSet<String>> =
        texts.iter().map(|records| records.iter().flat_map(|text| words(text)).collect()).collect();
    let mut users: BTreeMap<&str, u32> = BTreeMap::new();
    for word in vocabularies.iter().flatten() {
        *users.entry(word).or_insert(0) += 1;
    }
    let count = texts.len();
    let weight = |word: &String| u64::from((count as u32 / users[word.as_str()]).ilog2());
    let alike = |a: usize, b: usize| {
        let (a, b) = (&vocabularies[a], &vocabularies[b]);
        let both: u64 = a.intersection(b).map(weight).sum();
        let either: u64 = a.union(b).map(weight).sum();
        (both * 1_000_000).checked_div(either).unwrap_or(0)
    };
    // Sums over all pairs of two clusters: the average is that over the product of their sizes.
    let mut sums: Vec<Vec<u64>> =
        (0..count).map(|a| (0..a).map(|b| alike(a, b)).collect()).collect();
    let mut clusters: Vec<Vec<usize>> = (0..count).map(|contributor| vec![contributor]).collect();
    while clusters.len() > clusters_max.max(1) {
        let mut closest = (1, 0);
        for a in 1..clusters.len() {
            for b in 0..a {
                let pairs =
                    |(a, b): (usize, usize)| (clusters[a].len() * clusters[b].len()) as u128;
                let sum = |(a, b): (usize, usize)| u128::from(sums[a][b]);
                if sum((a, b)) * pairs(closest) > sum(closest) * pairs((a, b)) {
                    closest = (a, b);
                }
            }
        }
        let (gone, kept) = closest;
        let between = |sums: &[Vec<u64>], a: usize, b: usize| sums[a.max(b)][a.min(b)];
        for other in (0..clusters.len()).filter(|other| ![gone, kept].contains(other)) {
            let sum = between(&sums, gone, other);
            sums[kept.max(other)][kept.min(other)] += sum;
        }
        sums.remove(gone);
        sums.iter_mut().skip(gone).for_each(|row| {
            row.remove(gone);
        });
        let members = clusters.remove(gone);
        clusters[kept].extend(members);
    }
    let mut numbers = vec![0; count];
    for (number, members) in (0u32..).zip(&clusters) {
        members.iter().for_each(|contributor| numbers[*contributor] = number);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contributors_that_write_about_the_same_things_share_a_cluster() {
        let texts: [Vec<&str>; 6] = [
            vec!["a quern grinds grain", "the mill grinds flour"],
            vec!["the lake holds char", "perch swim in the lake"],
            vec!["grain and flour of the mill"],
            vec!["char and perch of the lake"],
            vec!["a weaver presses linen"],
            vec!["linen of the weaver"],
        ];
        let clusters = content_clusters(&texts, 3);
        assert_eq!(clusters, [0, 1, 0, 1, 2, 2]);
        assert_eq!(content_clusters(&texts, 6), [0, 1, 2, 3, 4, 5]);
        assert_eq!(content_clusters(&texts, 1), [0; 6]);
        assert_eq!(content_clusters(&texts, 0), [0; 6]);
        assert!(content_clusters(&[], 3).is_empty());
        assert_eq!(content_clusters(&[vec![], vec![]], 1), [0, 0]);
    }
}
