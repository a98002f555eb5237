//! Real and shipped data sets from file to proof.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use openledger_datanet::{
    Error, FieldMapping, Ingest, IngestOptions, Version, load_version, read_jsonl, save_version,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The file, or `None` with a loud word where the data sets are not on this machine.
fn shared(name: &str) -> Option<Vec<u8>> {
    let path = root().join("../shared/data").join(name);
    let file = fs::read(&path).ok();
    if file.is_none() {
        eprintln!("SKIPPED: {} is absent; this test needs it", path.display());
    }
    file
}

fn ingest(file: &[u8], contributor: &str) -> Ingest {
    let mapping = FieldMapping { contributor: contributor.into(), ..Default::default() };
    read_jsonl(file, &IngestOptions { mapping, ..Default::default() })
        .expect("the file is within limits")
}

#[test]
fn command_families_become_a_version_that_proves_each_record() {
    let Some(file) = shared("tldr-pages/families.jsonl") else { return };
    let ingest = ingest(&file, "family");
    assert_eq!((ingest.rows.len(), ingest.rejected.total), (480, 0));
    let built = Version::first(ingest, "CC-BY-4.0".parse().unwrap()).unwrap();
    assert!(built.duplicates.is_empty());
    let version = built.version;
    let parts = version.contributions();
    assert_eq!(parts.len(), 8);
    // From the same second program as the test vector in docs/datanets.md.
    let root = "0xd9bc83cddec0836cc54ae2c034d60a84928623fb94f7ae7c38e893007461096a";
    assert_eq!(version.root().to_string(), root);
    assert!(parts.iter().all(|part| part.records == 60));
    for (index, record) in version.records().iter().enumerate() {
        let proof = version.prove(index).unwrap();
        assert!(proof.verify_content(record.canonical(), version.root()));
    }
    let folder = tempfile::tempdir().unwrap();
    save_version(&version, &folder.path().join("1")).unwrap();
    assert_eq!(load_version(&folder.path().join("1")).unwrap(), version);
}

#[test]
fn a_copied_family_adds_no_record() {
    let Some(file) = shared("tldr-pages/families.jsonl") else { return };
    let one =
        Version::first(ingest(&file, "family"), "CC-BY-4.0".parse().unwrap()).unwrap().version;
    let mut rows: Vec<serde_json::Map<String, serde_json::Value>> = file
        .split(|byte| *byte == b'\n')
        .filter_map(|row| serde_json::from_slice(row).ok())
        .collect();
    for row in &mut rows {
        for field in ["prompt", "completion"] {
            let text = row[field].as_str().unwrap().to_uppercase().replace(' ', "  ");
            row.insert(field.into(), text.into());
        }
        row.insert("family".into(), "thief".into());
    }
    let copy: Vec<String> = rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect();
    let copy = ingest(copy.join("\n").as_bytes(), "family");
    assert_eq!(copy.rows.len(), 480);
    assert!(matches!(one.append(copy), Err(Error::NothingNew)));
}

#[test]
fn the_handbook_keeps_its_rules() {
    let file = fs::read(root().join("examples/handbook/handbook.jsonl")).unwrap();
    let ingest = ingest(&file, "contributor");
    assert_eq!((ingest.rejected.total, ingest.blank_lines), (0, 0));
    let built = Version::first(ingest, "CC0-1.0".parse().unwrap()).unwrap();
    assert!(built.duplicates.is_empty());
    let parts = built.version.contributions();
    assert!(parts.len() >= 4 && parts.iter().all(|part| part.records >= 44));

    let (mut prompts, mut answers) = (BTreeSet::new(), BTreeSet::new());
    for record in built.version.records() {
        let (prompt, answer) =
            (record.canonical().prompt().unwrap(), record.canonical().completion());
        assert!(prompt.is_ascii() && answer.is_ascii(), "{prompt}");
        assert!(prompt.split(' ').count() <= 15 && prompt.ends_with('?'), "{prompt}");
        assert!(
            (10..=35).contains(&answer.split(' ').count()) && answer.ends_with('.'),
            "{answer}"
        );
        assert!(prompts.insert(prompt.to_lowercase()), "{prompt} is asked twice");
        assert!(answers.insert(answer.to_lowercase()), "{answer} is said twice");
    }
    assert!(prompts.contains("what does the commons pool hold?"));
}

/// The hashes in the documentation were computed by another program, written from its text alone.
#[test]
fn the_documented_test_vector_holds() {
    let page = fs::read_to_string(root().join("docs/datanets.md")).unwrap();
    let vector = page.split("## 6. Test vector").nth(1).unwrap();
    let block = |fence: &str| vector.split(fence).nth(1).unwrap().split("```").next().unwrap();
    let stated = block("```text\n");

    let ingest = ingest(block("```json\n").as_bytes(), "contributor");
    assert_eq!((ingest.rows.len(), ingest.rejected.total), (4, 0));
    let built = Version::first(ingest, "CC0-1.0".parse().unwrap()).unwrap();
    assert_eq!((built.duplicates[0].line, built.duplicates[0].earliest_record), (4, 2));

    let mut computed = Vec::new();
    let records = built.version.records();
    computed.extend(records.iter().map(|record| record.canonical().content_hash()));
    computed.extend(records.iter().map(|record| record.canonical().duplicate_key()));
    computed.extend(records.iter().map(|record| record.leaf()));
    computed.push(built.version.contributions()[0].root);
    computed.push(built.version.root());
    let stated: Vec<&str> =
        stated.split_whitespace().filter(|word| word.starts_with("0x")).collect();
    let computed: Vec<String> = computed.iter().map(|hash| hash.to_string()).collect();
    assert_eq!(computed, stated);
}
