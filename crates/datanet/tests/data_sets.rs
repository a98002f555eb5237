//! Real and shipped data sets from file to proof.

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
