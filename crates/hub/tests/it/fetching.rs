//! What the cache holds after each thing that can happen to a download.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openledger_hub::{Content, Error, Event, Hub};
use tempfile::TempDir;

use crate::hub_server::{COMMIT, HubServer, Manners};

const WEIGHTS: &str = "model.safetensors";

/// A base that nobody could load, which does not matter here.
fn base() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"{\"model\": {}}".to_vec()),
        ("tokenizer_config.json", b"{\"chat_template\": \"\"}".to_vec()),
        (WEIGHTS, (0..100_000u32).map(|i| (i % 251) as u8).collect()),
        // What is not read here is not fetched.
        ("pytorch_model.bin", vec![9; 1000]),
        ("README.md", b"a model".to_vec()),
    ]
}

fn hub_with(cache: &Path, endpoint: &str, more: &[(&str, &str)]) -> Hub {
    Hub::from_environment(|name| match name {
        "HF_HUB_CACHE" => Some(cache.into()),
        "HF_ENDPOINT" => Some(endpoint.into()),
        _ => more.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value)),
    })
}

struct Place {
    cache: TempDir,
    server: HubServer,
}

impl Place {
    fn new(files: &[(&'static str, Vec<u8>)], manners: Manners) -> Self {
        Self { cache: tempfile::tempdir().unwrap(), server: HubServer::start(files, manners) }
    }

    fn hub(&self) -> Hub {
        hub_with(self.cache.path(), &self.server.endpoint, &[])
    }

    fn folder(&self, model: &str) -> Result<PathBuf, Error> {
        self.hub().folder(model, Content::Base, &mut |_| {})
    }

    fn error(&self, model: &str) -> String {
        self.folder(model).expect_err("it cannot be had").to_string()
    }

    fn snapshot(&self) -> PathBuf {
        self.cache.path().join("models--org--tiny/snapshots").join(COMMIT)
    }

    /// Files of the snapshot, sorted.
    fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.snapshot()) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn holds_what_the_server_has(&self, files: &[(&'static str, Vec<u8>)]) {
        for name in self.names() {
            let (_, whole) =
                files.iter().find(|(file, _)| *file == name).expect("a file of the model");
            assert_eq!(&fs::read(self.snapshot().join(&name)).unwrap(), whole, "{name}");
        }
    }
}

#[test]
fn a_model_is_fetched_once_with_the_files_that_are_read_and_no_others() {
    let place = Place::new(&base(), Manners::default());
    let mut events = Vec::new();
    let mut tell = |event: Event<'_>| events.push(format!("{event:?}"));
    let folder = place.hub().folder("org/tiny", Content::Base, &mut tell).unwrap();
    assert_eq!(folder, place.snapshot());
    assert_eq!(place.names(), ["config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json"]);
    place.holds_what_the_server_has(&base());
    let size: usize = base()[..4].iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(events[0].starts_with("Begin"), "the size comes first: {events:?}");
    assert!(events[0].contains(&format!("files: 4, bytes: {size}")), "{}", events[0]);
    assert_eq!(events.iter().filter(|event| event.starts_with("File")).count(), 4);
    let asked = place.server.asked();
    assert_eq!(asked.len(), 5, "{asked:?}");
    // The layout is the one of Hugging Face's tools.
    let repository = place.cache.path().join("models--org--tiny");
    assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    if cfg!(unix) {
        let link = fs::read_link(folder.join(WEIGHTS)).unwrap();
        assert!(link.starts_with("../../blobs"), "{}", link.display());
    }
    assert!(!repository.join(".incoming").exists());
    // The second time nobody is asked; a commit leads to the same folder, and so does having no network.
    assert_eq!(place.folder("org/tiny").unwrap(), folder);
    assert_eq!(place.folder(&format!("org/tiny@{COMMIT}")).unwrap(), folder);
    let offline = hub_with(place.cache.path(), "http://127.0.0.1:1", &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(offline.folder("org/tiny", Content::Base, &mut |_| {}).unwrap(), folder);
    assert!(place.server.asked().is_empty());
}

#[test]
fn a_model_in_several_files_has_all_that_its_index_names() {
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let mut files = base();
    files.retain(|(name, _)| *name != WEIGHTS);
    files.extend([
        ("model.safetensors.index.json", index.to_vec()),
        ("model-1.safetensors", vec![1; 5000]),
        ("model-2.safetensors", vec![2; 5000]),
        ("model-3.safetensors", vec![3; 5000]),
    ]);
    let place = Place::new(&files, Manners::default());
    let folder = place.folder("org/tiny").unwrap();
    assert_eq!(place.names().len(), 6);
    place.holds_what_the_server_has(&files);
    // A cache that lost a shard is filled again, with that shard alone.
    fs::remove_file(folder.join("model-2.safetensors").canonicalize().unwrap()).unwrap();
    place.server.asked();
    assert_eq!(place.folder("org/tiny").unwrap(), folder);
    assert_eq!(place.server.asked(), ["list", "model-2.safetensors from 0"]);
    place.holds_what_the_server_has(&files);
}

#[test]
fn an_adapter_is_its_two_files() {
    let files = [
        ("adapter_config.json", b"{}".to_vec()),
        ("adapter_model.safetensors", vec![7; 3000]),
        ("tokenizer.json", b"{}".to_vec()),
    ];
    let place = Place::new(&files, Manners::default());
    place.hub().folder("org/tiny", Content::Adapter, &mut |_| {}).unwrap();
    assert_eq!(place.names(), ["adapter_config.json", "adapter_model.safetensors"]);
    assert!(place.error("org/tiny").contains("has no config.json"), "an adapter is no base");
}

#[test]
fn a_hub_whose_list_has_no_sizes_is_asked_for_them() {
    let place = Place::new(&base(), Manners { no_sizes: true, ..Manners::default() });
    place.folder("org/tiny").unwrap();
    place.holds_what_the_server_has(&base());
}

#[test]
fn a_line_that_is_cut_now_and_then_does_not_hurt() {
    let place = Place::new(&base(), Manners { cut: Some((WEIGHTS, 2)), ..Manners::default() });
    let (mut announced, mut came) = (0, 0);
    let mut tell = |event: Event<'_>| match event {
        Event::Begin { bytes, .. } => announced = bytes,
        Event::Bytes(bytes) => came += bytes,
        _ => {}
    };
    place.hub().folder("org/tiny", Content::Base, &mut tell).unwrap();
    assert_eq!(came, announced, "no byte is told twice");
    place.holds_what_the_server_has(&base());
    let asked = place.server.asked();
    let weights: Vec<_> = asked.iter().filter(|what| what.starts_with(WEIGHTS)).collect();
    assert_eq!(weights.len(), 3, "{asked:?}");
    assert!(
        !weights[1].ends_with("from 0") && !weights[2].ends_with("from 0"),
        "it goes on: {asked:?}"
    );
}

#[test]
fn a_file_that_came_in_part_is_never_taken_for_a_whole_one() {
    let place = Place::new(&base(), Manners { cut: Some((WEIGHTS, 99)), ..Manners::default() });
    let error = place.error("org/tiny");
    assert!(error.contains("model.safetensors of org/tiny@main came only in part"), "{error}");
    assert!(error.contains("run the command again"), "{error}");
    assert!(!place.names().iter().any(|name| name == WEIGHTS), "{:?}", place.names());
    let offline = hub_with(place.cache.path(), &place.server.endpoint, &[("HF_HUB_OFFLINE", "1")]);
    assert!(offline.folder("org/tiny", Content::Base, &mut |_| {}).is_err());
    // The next run goes on where this one stopped, with what was missing alone.
    place.server.behave(Manners::default());
    place.server.asked();
    place.folder("org/tiny").unwrap();
    let asked = place.server.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[1].starts_with(WEIGHTS) && !asked[1].ends_with("from 0"), "{asked:?}");
    place.holds_what_the_server_has(&base());
}

#[test]
fn a_server_that_cannot_go_on_within_a_file_sends_it_again() {
    let manners = Manners { cut: Some((WEIGHTS, 1)), ignores_ranges: true, ..Manners::default() };
    let place = Place::new(&base(), manners);
    place.folder("org/tiny").unwrap();
    place.holds_what_the_server_has(&base());
}

#[test]
fn a_part_that_is_longer_than_the_file_is_thrown_away() {
    for bytes in [100_000, 100_001] {
        let manners = Manners { cut: Some((WEIGHTS, 99)), ..Manners::default() };
        let place = Place::new(&base(), manners);
        place.error("org/tiny");
        let blobs = place.cache.path().join("models--org--tiny/.incoming/models--org--tiny/blobs");
        let mut files = fs::read_dir(blobs).unwrap().map(|entry| entry.unwrap().path());
        let part = files.find(|path| path.extension().is_some_and(|x| x == "part")).unwrap();
        fs::write(&part, vec![0; bytes]).unwrap();
        place.server.behave(Manners::default());
        place.folder("org/tiny").unwrap();
        place.holds_what_the_server_has(&base());
    }
}

#[test]
fn bytes_that_are_not_the_announced_ones_never_reach_the_cache() {
    let place = Place::new(&base(), Manners { false_bytes: Some(WEIGHTS), ..Manners::default() });
    let error = place.error("org/tiny");
    assert!(error.contains("is not what was announced: its SHA-256 is"), "{error}");
    assert!(error.contains("hf download org/tiny --revision main"), "{error}");
    assert!(!place.names().iter().any(|name| name == WEIGHTS));
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let place = Place::new(&base(), Manners { silent: Some(WEIGHTS), ..Manners::default() });
    let hub = place.hub().with_patience(Duration::from_millis(300));
    let error = hub.folder("org/tiny", Content::Base, &mut |_| {}).expect_err("silence");
    assert!(error.to_string().contains("nothing came for 0.3 seconds"), "{error}");
}

#[test]
fn a_private_model_needs_a_token_and_the_error_says_so() {
    let place = Place::new(&base(), Manners { token: Some("secret"), ..Manners::default() });
    let error = place.error("org/tiny");
    assert!(error.contains("status 401") && error.contains("HF_TOKEN"), "{error}");
    let with = |token| {
        let hub = hub_with(place.cache.path(), &place.server.endpoint, &[("HF_TOKEN", token)]);
        hub.folder("org/tiny", Content::Base, &mut |_| {})
    };
    let error = with("wrong").expect_err("refused").to_string();
    assert!(error.contains("for the token that was sent") && !error.contains("wrong"), "{error}");
    with("secret").unwrap();
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let place = Place::new(&base(), Manners::default());
    for (model, says) in [
        ("org/other", "has no list of files of org/other@main (status 404): check the name"),
        ("org/tiny@v9", "has no list of files of org/tiny@v9"),
        ("nowhere", "not a name like org/name"),
        ("org/../x", "not a name"),
    ] {
        let error = place.error(model);
        assert!(error.contains(says), "{error}");
    }
    assert!(!place.cache.path().join("models--org--other").exists(), "nothing is left of it");
    let mut files = base();
    files.retain(|(name, _)| *name != "tokenizer.json");
    let place = Place::new(&files, Manners::default());
    let error = place.error("org/tiny");
    assert!(error.contains("org/tiny@main has no tokenizer.json"), "{error}");
    assert_eq!(place.server.asked(), ["list"], "nothing was fetched in vain");
}

#[test]
fn a_file_larger_than_what_is_read_is_not_fetched() {
    let mut files = base();
    files[0].1 = vec![b' '; (1 << 20) + 1];
    let place = Place::new(&files, Manners::default());
    let error = place.error("org/tiny");
    assert!(error.contains("config.json") && error.contains("nothing was fetched"), "{error}");
    assert_eq!(place.server.asked(), ["list"]);
}

#[test]
fn without_a_network_the_error_says_what_to_do() {
    let cache = tempfile::tempdir().unwrap();
    let folder = |hub: Hub| hub.folder("org/tiny@v2", Content::Base, &mut |_| {});
    // Nobody listens on port 1.
    let hub = || hub_with(cache.path(), "http://127.0.0.1:1", &[]);
    let error = folder(hub()).expect_err("nobody there").to_string();
    for says in
        ["127.0.0.1:1 cannot be reached", "hf download org/tiny --revision v2", "HF_ENDPOINT"]
    {
        assert!(error.contains(says), "{error}");
    }
    let offline = hub_with(cache.path(), "http://127.0.0.1:1", &[("HF_HUB_OFFLINE", "1")]);
    let error = folder(offline).expect_err("offline").to_string();
    for says in ["HF_HUB_OFFLINE is set", "snapshots/v2", "hf download org/tiny --revision v2"] {
        assert!(error.contains(says), "{error}");
    }
    let nowhere = Hub::from_environment(|_| None);
    let error = folder(nowhere).expect_err("no cache").to_string();
    assert!(error.contains("HF_HOME"), "{error}");
}

#[test]
fn an_answer_that_is_not_a_hubs_names_the_endpoint() {
    let place = Place::new(&base(), Manners::default());
    let elsewhere = format!("{}/org/tiny/resolve/main/README.md?", place.server.endpoint);
    let hub = hub_with(place.cache.path(), &elsewhere, &[]);
    let error = hub.folder("org/tiny", Content::Base, &mut |_| {}).expect_err("no Hub").to_string();
    assert!(error.contains("does not answer as a Hub"), "{error}");
    assert!(error.contains("HF_ENDPOINT"), "{error}");
}

#[test]
fn a_folder_wins_over_a_name_and_a_reference_leads_nowhere_else() {
    let place = Place::new(&base(), Manners::default());
    let path = place.cache.path().to_str().unwrap();
    assert_eq!(place.folder(path).unwrap(), place.cache.path());
    let refs = place.cache.path().join("models--org--tiny/refs");
    fs::create_dir_all(&refs).unwrap();
    fs::write(refs.join("main"), "../../..").unwrap();
    assert_eq!(place.folder("org/tiny").unwrap(), place.snapshot(), "fetched, not followed");
}

#[test]
fn two_who_want_the_same_fetch_it_once() {
    let place = Place::new(&base(), Manners::default());
    let folders: Vec<PathBuf> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| place.folder("org/tiny").unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(folders.iter().all(|folder| *folder == place.snapshot()));
    assert_eq!(place.server.asked().len(), 5);
    place.holds_what_the_server_has(&base());
}
