//! From what a person calls a model to its folder: a path, or `org/name` in the cache that Hugging Face's tools keep.
//!
//! ```text
//! cache ─▶ models--org--name ─▶ refs/main: a commit ─▶ snapshots/<commit>: the folder
//! ```
//!
//! **Invariant:** no request leaves the machine; what is not there is an error that says how to put it there.
//! **Invariant:** a name leads to a folder inside the cache.

use crate::Error;
use crate::shards::WEIGHT_INDEX_FILE;
use crate::weight_files::{WEIGHT_FILE, read_capped};
use std::path::{Path, PathBuf};

/// Longest name of a model or revision.
const NAME_CHARS_MAX: usize = 96;
/// Largest file that names a commit.
const REF_BYTES_MAX: u64 = 256;
/// The branch where no revision is named.
const MAIN: &str = "main";

/// Where Hugging Face's tools keep what they fetched, by the variables they read.
///
/// `variable` gives the value of an environment variable: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else
/// `.cache/huggingface/hub` in `HOME`.
pub fn hub_cache(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|path| !path.as_os_str().is_empty());
    set("HF_HUB_CACHE")
        .or_else(|| set("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/huggingface/hub")))
}

/// The folder of a model: `model` itself where that is a folder, otherwise `org/name` or `org/name@revision` in
/// the cache.
///
/// Errors: [`Error::NoModel`] saying what was looked for, where, and what to do.
pub fn model_folder(model: &str, cache: Option<&Path>) -> Result<PathBuf, Error> {
    let path = Path::new(model);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    let missing = |why: String| Error::NoModel { model: model.into(), why };
    let Some((repository, revision)) = name(model) else {
        return Err(missing(
            "there is no such folder, and it is not a name like org/name or org/name@revision"
                .into(),
        ));
    };
    let fetch = format!(
        "fetch it with `hf download {repository} --revision {revision}` on a machine with a network, or give the \
         path of a folder with config.json and {WEIGHT_FILE}"
    );
    let Some(cache) = cache else {
        return Err(missing(format!(
            "there is no such folder, and no cache to look in (HF_HUB_CACHE, HF_HOME and HOME are not set); {fetch}"
        )));
    };
    let kept = cache.join(format!("models--{}", repository.replace('/', "--")));
    let commit = match read_capped(&kept.join("refs").join(revision), REF_BYTES_MAX) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(_) => revision.to_owned(),
    };
    let snapshot = kept.join("snapshots").join(&commit);
    if !is_name(&commit) || !snapshot.is_dir() {
        return Err(missing(format!(
            "there is no such folder, and nothing under {}; {fetch}",
            snapshot.display()
        )));
    }
    let has = |file: &str| snapshot.join(file).is_file();
    if !has("config.json") || !(has(WEIGHT_FILE) || has(WEIGHT_INDEX_FILE)) {
        return Err(missing(format!("{} is not complete; {fetch}", snapshot.display())));
    }
    Ok(snapshot)
}

/// `org/name` and the revision.
fn name(model: &str) -> Option<(&str, &str)> {
    let (repository, revision) = model.split_once('@').unwrap_or((model, MAIN));
    let (org, name) = repository.split_once('/')?;
    [org, name, revision].into_iter().all(is_name).then_some((repository, revision))
}

/// One component of a path, with nothing that leads out of a folder.
fn is_name(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.len())
        && !text.starts_with('.')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> tempfile::TempDir {
        let cache = tempfile::tempdir().expect("a folder");
        let model = cache.path().join("models--org--tiny-1.5");
        for folder in ["refs", "snapshots/0123abc", "snapshots/half"] {
            std::fs::create_dir_all(model.join(folder)).expect("made");
        }
        std::fs::write(model.join("refs/main"), "0123abc\n").expect("written");
        std::fs::write(model.join("refs/bad"), "../../..").expect("written");
        for file in ["0123abc/config.json", "0123abc/model.safetensors", "half/config.json"] {
            std::fs::write(model.join("snapshots").join(file), "{}").expect("written");
        }
        cache
    }

    #[test]
    fn a_path_wins_and_a_name_leads_into_the_cache() {
        let cache = cache();
        let find = |model: &str| model_folder(model, Some(cache.path()));
        let path = cache.path().to_str().expect("text");
        assert_eq!(find(path).expect("a folder"), cache.path());
        let snapshot = cache.path().join("models--org--tiny-1.5/snapshots/0123abc");
        assert_eq!(find("org/tiny-1.5").expect("by branch"), snapshot);
        assert_eq!(find("org/tiny-1.5@0123abc").expect("by commit"), snapshot);
    }

    #[test]
    fn what_is_not_there_says_where_it_was_looked_for_and_how_to_put_it_there() {
        let cache = cache();
        for (model, says) in [
            ("org/other", "hf download org/other --revision main"),
            ("org/tiny-1.5@v2", "snapshots/v2"),
            ("org/tiny-1.5@half", "not complete"),
            ("org/tiny-1.5@bad", "nothing under"),
            ("nowhere", "not a name like org/name"),
            ("org/../x", "not a name"),
            ("org/tiny-1.5@../main", "not a name"),
            ("../x", "not a name"),
        ] {
            let error = model_folder(model, Some(cache.path())).expect_err(model).to_string();
            assert!(error.contains(says) && error.contains(model), "{error}");
        }
        assert!(
            model_folder("org/tiny", None).expect_err("no cache").to_string().contains("HF_HOME")
        );
    }

    #[test]
    fn the_cache_is_where_the_variables_of_hugging_face_say() {
        let of = |set: &'static [(&str, &str)]| {
            hub_cache(|name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into()))
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("HOME", "h")]), Some("h/.cache/huggingface/hub".into()));
        assert_eq!(of(&[("HOME", "h"), ("HF_HOME", "f")]), Some("f/hub".into()));
        assert_eq!(of(&[("HF_HUB_CACHE", "c"), ("HF_HOME", "f")]), Some("c".into()));
    }
}
