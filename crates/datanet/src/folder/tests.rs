use std::collections::BTreeMap;

use super::*;
use crate::{Built, IngestOptions, read_jsonl};
use openledger_primitives::Address;

const FILE: &str = r#"{"prompt": "Zoe\u0308?\r\n", "completion": "a\u001fb", "contributor": "ann"}
{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "c"}], "contributor": "ben"}
{"prompt": "third", "completion": "3", "contributor": "ann"}
"#;

fn built(file: &str) -> Built {
    let mut ingest = read_jsonl(file.as_bytes(), &IngestOptions::default()).unwrap();
    let wallets =
        [("ann", 1), ("ben", 2)].map(|(name, b)| (name.to_owned(), Address::repeat_byte(b)));
    ingest.assign_wallets(&BTreeMap::from(wallets)).unwrap();
    Version::first(ingest, "CC0-1.0".parse().unwrap()).unwrap()
}

fn stored() -> (tempfile::TempDir, PathBuf, Version) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("datanet/1");
    let version = built(FILE).version;
    save_version(&version, &dir).unwrap();
    (folder, dir, version)
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn a_version_comes_back_as_it_was_stored() {
    let (_folder, dir, version) = stored();
    assert_eq!(load_version(&dir).unwrap(), version);
    let names: Vec<_> = fs::read_dir(dir.parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1, "a temporary folder was left behind");
}

#[test]
fn an_appended_version_comes_back_with_its_parent() {
    let (_folder, dir, one) = stored();
    let file = r#"{"prompt": "new", "completion": "n", "contributor": "0x0303030303030303030303030303030303030303"}"#;
    let more = read_jsonl(file.as_bytes(), &IngestOptions::default()).unwrap();
    let two = one.append(more).unwrap().version;
    let dir = dir.with_file_name("2");
    save_version(&two, &dir).unwrap();
    assert_eq!(load_version(&dir).unwrap(), two);
    edit(&dir.join(MANIFEST_FILE), "\"records\": 3\n", "\"records\": 2\n");
    assert!(matches!(load_version(&dir), Err(Error::ManifestMismatch { .. })));
}

#[test]
fn the_same_records_make_the_same_bytes() {
    let (_folder, dir, version) = stored();
    let again = dir.with_file_name("again");
    save_version(&version, &again).unwrap();
    for file in [RECORDS_FILE, MANIFEST_FILE] {
        assert_eq!(fs::read(dir.join(file)).unwrap(), fs::read(again.join(file)).unwrap());
    }
}

#[test]
fn stored_records_can_be_ingested_again_and_give_the_same_root() {
    let (_folder, dir, version) = stored();
    let file = fs::read(dir.join(RECORDS_FILE)).unwrap();
    let ingest = read_jsonl(&file[..], &IngestOptions::default()).unwrap();
    assert_eq!(ingest.rejected.total, 0);
    let again = Version::first(ingest, "CC0-1.0".parse().unwrap()).unwrap().version;
    assert_eq!(again.root(), version.root());
}

#[test]
fn a_version_is_never_overwritten() {
    let (_folder, dir, version) = stored();
    assert!(matches!(save_version(&version, &dir), Err(Error::AlreadyExists { .. })));
    assert!(matches!(save_version(&version, Path::new("/")), Err(Error::AlreadyExists { .. })));
    assert_eq!(load_version(&dir).unwrap(), version);
}

#[test]
fn a_changed_record_is_named_with_its_line() {
    let (_folder, dir, _) = stored();
    edit(&dir.join(RECORDS_FILE), "third", "Third");
    let error = load_version(&dir).unwrap_err();
    assert!(matches!(error, Error::RecordChanged { line: 3, .. }), "{error}");
}

#[test]
fn a_record_changed_together_with_its_hash_breaks_the_root() {
    let (_folder, dir, version) = stored();
    let old = version.records()[2].canonical();
    let new = Canonical::prompt_completion("Third", "3").unwrap();
    let records = dir.join(RECORDS_FILE);
    edit(&records, "third", "Third");
    edit(&records, &old.content_hash().to_string(), &new.content_hash().to_string());
    assert!(matches!(load_version(&dir), Err(Error::RootMismatch { .. })));
}

#[test]
fn a_stolen_lost_or_swapped_record_breaks_the_root() {
    let (_folder, dir, _) = stored();
    let records = dir.join(RECORDS_FILE);
    let text = fs::read_to_string(&records).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let stolen = text.replacen(
        &Address::repeat_byte(1).to_string(),
        &Address::repeat_byte(9).to_string(),
        1,
    );
    let lost = format!("{}\n{}\n", lines[0], lines[1]);
    let swapped = format!("{}\n{}\n{}\n", lines[1], lines[0], lines[2]);
    for changed in [stolen, lost, swapped] {
        fs::write(&records, changed).unwrap();
        assert!(matches!(load_version(&dir), Err(Error::RootMismatch { .. })));
    }
    fs::write(&records, format!("{text}{}\n", lines[0])).unwrap();
    assert!(matches!(load_version(&dir), Err(Error::RecordChanged { line: 4, .. })));
    fs::write(&records, &text[..text.len() - 1]).unwrap();
    assert!(matches!(load_version(&dir), Err(Error::RecordChanged { line: 3, .. })));
}

#[test]
fn a_manifest_cannot_state_what_its_records_do_not_show() {
    let (_folder, dir, version) = stored();
    let path = dir.join(MANIFEST_FILE);
    let original = fs::read_to_string(&path).unwrap();
    let root = version.contributions()[1].root.to_string();
    for (from, to) in [
        ("\"records\": 2", "\"records\": 3"),
        ("\"version\": 1", "\"version\": 2"),
        (root.as_str(), &B256::ZERO.to_string()),
        (&Address::repeat_byte(2).to_string(), &Address::repeat_byte(9).to_string()),
    ] {
        edit(&path, from, to);
        let error = load_version(&dir).unwrap_err();
        assert!(matches!(error, Error::ManifestMismatch { .. }), "{from}: {error}");
        fs::write(&path, &original).unwrap();
    }
    for (from, to) in [
        ("datanet-version/1", "datanet-version/9"),
        ("\"licence\": \"CC0-1.0\"", "\"licence\": \"<b>\""),
        ("\"version\": 1", "\"version\": 1, \"extra\": 1"),
        ("{", ""),
    ] {
        edit(&path, from, to);
        assert!(matches!(load_version(&dir), Err(Error::BadManifest { .. })), "{from}");
        fs::write(&path, &original).unwrap();
    }
    assert!(load_version(&dir).is_ok());
}

#[test]
fn white_space_added_to_the_records_file_is_noticed() {
    let (_folder, dir, _) = stored();
    edit(&dir.join(RECORDS_FILE), "{\"contributor\":", "{ \"contributor\":");
    assert!(matches!(load_version(&dir), Err(Error::ManifestMismatch { .. })));
}

#[test]
fn a_missing_folder_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = load_version(&folder.path().join("nothing")).unwrap_err();
    assert!(matches!(error, Error::Folder { doing: "opened", .. }));
    assert!(error.to_string().contains("manifest.json could not be opened"));
}
