use super::*;
use crate::{IngestOptions, read_jsonl};
use proptest::prelude::*;

/// Rows as (contributor, prompt); the completion is the prompt again.
fn ingest(rows: &[(&str, &str)]) -> Ingest {
    let line = |(who, text): &(&str, &str)| {
        serde_json::json!({"contributor": who, "prompt": text, "completion": text}).to_string()
    };
    let file: Vec<String> = rows.iter().map(line).collect();
    let ingest = read_jsonl(file.join("\n").as_bytes(), &IngestOptions::default()).unwrap();
    assert_eq!(ingest.rejected.total, 0);
    ingest
}

fn first(rows: &[(&str, &str)]) -> Built {
    Version::first(ingest(rows), "CC0-1.0".parse().unwrap()).unwrap()
}

#[test]
fn a_copied_contribution_belongs_to_whoever_came_first() {
    let built =
        first(&[("ann", "a b"), ("ben", "A  B"), ("ben", "c"), ("ann", "a b"), ("cat", "a b")]);
    assert_eq!(built.version.records().len(), 2);
    let told: Vec<_> = built
        .duplicates
        .iter()
        .map(|d| (d.line, d.contributor.to_string(), d.earliest_contributor.to_string(), d.exact))
        .collect();
    let row = |line, who: &str, exact| (line, who.to_owned(), "ann".to_owned(), exact);
    assert_eq!(told, [row(2, "ben", false), row(4, "ann", true), row(5, "cat", true)]);
    let parts = built.version.contributions();
    let counts: Vec<_> = parts.iter().map(|p| (p.contributor.to_string(), p.records)).collect();
    assert_eq!(counts, [("ann".to_owned(), 1), ("ben".to_owned(), 1)]);
}

#[test]
fn an_appended_version_keeps_what_was_there_and_who_owns_it() {
    let one = first(&[("ann", "a"), ("ben", "b")]).version;
    let built = one.append(ingest(&[("cat", "B"), ("cat", "c"), ("ann", "d")])).unwrap();
    let two = built.version;
    assert_eq!(two.records()[..2], *one.records());
    assert_eq!(two.records().len(), 4);
    assert_eq!((two.number(), two.parent().unwrap().root), (2, one.root()));
    assert_eq!(built.duplicates[0].earliest_contributor.to_string(), "ben");
    assert!(two.continues_parent());
    assert_ne!(two.root(), one.root());
}

#[test]
fn a_version_that_adds_nothing_is_refused() {
    let one = first(&[("ann", "a")]).version;
    assert!(matches!(one.append(ingest(&[("ben", "A")])), Err(Error::NothingNew)));
    let none = Version::first(ingest(&[]), "MIT".parse().unwrap());
    assert!(matches!(none, Err(Error::NothingNew)));
}

#[test]
fn a_forged_parent_is_noticed() {
    let one = first(&[("ann", "a"), ("ben", "b")]).version;
    let mut two = one.append(ingest(&[("cat", "c")])).unwrap().version;
    let parent = two.parent.unwrap();
    for forged in [
        Parent { root: B256::ZERO, ..parent },
        Parent { records: 1, ..parent },
        Parent { records: u64::MAX, ..parent },
        Parent { root: two.root, records: 3 },
    ] {
        two.parent = Some(forged);
        assert!(!two.continues_parent(), "{forged:?}");
    }
}

#[test]
fn the_root_is_over_owner_and_content() {
    let root = |rows| first(rows).version.root();
    let base = root(&[("ann", "a"), ("ben", "b")]);
    assert_ne!(root(&[("ben", "a"), ("ben", "b")]), base);
    assert_ne!(root(&[("ann", "x"), ("ben", "b")]), base);
    assert_ne!(root(&[("ben", "b"), ("ann", "a")]), base);
    assert_eq!(root(&[("ann", "a\r\n"), ("ben", "b ")]), base);
}

#[test]
fn a_label_stays_with_the_wallet_it_was_assigned_to() {
    let address = Address::repeat_byte(7);
    let mut rows = ingest(&[("ann", "a")]);
    rows.assign_wallets(&BTreeMap::from([("ann".to_owned(), address)])).unwrap();
    let one = Version::first(rows, "MIT".parse().unwrap()).unwrap().version;
    let two = one.append(ingest(&[(&address.to_string(), "b")])).unwrap().version;
    let parts = two.contributions();
    assert_eq!((parts.len(), parts[0].records), (1, 2));
    assert_eq!(parts[0].label.as_deref(), Some("ann"));
    assert_eq!(parts[0].contributor.wallet(), Some(address));
}

proptest! {
    #[test]
    fn every_record_is_proven_and_a_changed_proof_proves_nothing(
        owners in prop::collection::vec(0usize..4, 1..40),
        pick: prop::sample::Index,
        bit in 0usize..256,
    ) {
        let texts: Vec<String> = (0..owners.len()).map(|i| format!("text {i}")).collect();
        let names = ["ann", "ben", "cat", "dan"];
        let rows: Vec<_> = owners.iter().zip(&texts).map(|(o, t)| (names[*o], t.as_str())).collect();
        let version = first(&rows).version;
        let index = pick.index(rows.len());
        let record = &version.records()[index];
        let parts = version.contributions();
        let own = parts.iter().find(|p| p.contributor == *record.contributor()).unwrap();

        let whole = version.prove(index).unwrap();
        let part = version.prove_in_contribution(index).unwrap();
        for (proof, root, leaves) in
            [(whole, version.root(), rows.len() as u64), (part, own.root, own.records)]
        {
            prop_assert!(proof.verify_content(record.canonical(), root));
            prop_assert_eq!(proof.merkle.leaves, leaves);

            let mut changed = proof.clone();
            changed.content_hash[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!changed.verify(root));
            prop_assert!(!changed.verify_content(record.canonical(), root));

            let mut changed = proof.clone();
            changed.contributor = "mallory".parse().unwrap();
            prop_assert!(!changed.verify(root));

            let mut other_root = root;
            other_root[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!proof.verify(other_root));

            if leaves > 1 {
                let mut changed = proof.clone();
                changed.merkle.index = (changed.merkle.index + 1) % leaves;
                prop_assert!(!changed.verify(root));
                let mut changed = proof.clone();
                let step = bit % changed.merkle.path.len();
                changed.merkle.path[step][bit / 8] ^= 1 << (bit % 8);
                prop_assert!(!changed.verify(root));
            }
            let json = serde_json::to_string(&proof).unwrap();
            prop_assert_eq!(serde_json::from_str::<RecordProof>(&json).unwrap(), proof);
        }
        prop_assert!(version.prove(rows.len()).is_none());
        prop_assert!(version.prove_in_contribution(rows.len()).is_none());
    }

    #[test]
    fn contributions_partition_the_records(owners in prop::collection::vec(0usize..4, 1..40)) {
        let texts: Vec<String> = (0..owners.len()).map(|i| format!("text {i}")).collect();
        let rows: Vec<_> = owners.iter().zip(&texts).map(|(o, t)| (["a", "b", "c", "d"][*o], t.as_str())).collect();
        let version = first(&rows).version;
        let parts = version.contributions();
        prop_assert_eq!(parts.iter().map(|p| p.records).sum::<u64>(), rows.len() as u64);
        if let [only] = &parts[..] {
            prop_assert_eq!(only.root, version.root());
        }
    }
}
