//! Folders of models and adapters by path or by name, with what a person sees while they are fetched.
//!
//! **Invariant:** every command that takes a base or an adapter by name finds it here.

use std::path::{Path, PathBuf};

use indicatif::{HumanBytes, ProgressBar};
use openledger_hub::{Content, Event, Hub};

use crate::{
    embedded,
    failure::{Exit, Failure, OrFail},
    output::tell,
    terminal::Terminal,
};

/// The folder of `model`, fetched into the cache of Hugging Face's tools if it is a name and not there.
pub async fn folder(model: &str, content: Content) -> Result<PathBuf, Failure> {
    let what = match content {
        Content::Base => "base model",
        Content::Adapter => "adapter",
    };
    let named = model.to_owned();
    // It blocks, and may take as long as a model is large.
    let found = tokio::task::spawn_blocking(move || {
        let hub = Hub::from_environment(|name| std::env::var_os(name));
        let mut meter = Meter { terminal: Terminal::detect(false), bar: None };
        hub.folder(&named, content, &mut |event| meter.show(event))
    });
    let found = found.await.or_fail(Exit::Failure, "the download ended unexpectedly")?;
    found.or_fail(Exit::NotFound, format!("there is no {what} {model}"))
}

/// The folder of a base that may be left out: then of the built-in nano, which is put under `data_dir`.
pub async fn base_or_nano(model: Option<&str>, data_dir: &Path) -> Result<PathBuf, Failure> {
    match model {
        Some(model) => folder(model, Content::Base).await,
        None => embedded::nano(data_dir),
    }
}

/// Progress of a download on stderr.
struct Meter {
    terminal: Terminal,
    bar: Option<ProgressBar>,
}

impl Meter {
    fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Waiting => tell("another process fetches the same model; waiting for it"),
            Event::Begin { name, endpoint, files, bytes } => {
                tell(&format!(
                    "fetching {name} from {endpoint}: {files} files, {}",
                    HumanBytes(bytes)
                ));
                self.bar = Some(self.terminal.bar("Download", bytes));
            }
            Event::Bytes(bytes) => {
                if let Some(bar) = &self.bar {
                    bar.inc(bytes);
                }
            }
            Event::File { file, bytes } if self.terminal.lines() => {
                tell(&format!("  {file}  {}", HumanBytes(bytes)));
            }
            Event::File { file, .. } => {
                if let Some(bar) = &self.bar {
                    bar.set_message(file.to_owned());
                }
            }
        }
    }
}
