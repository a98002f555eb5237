use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::failure::{Exit, Failure};

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What `-v` stands for, counted up from `quiet`.
pub fn level(quiet: &'static str, verbose: u8) -> &'static str {
    const LEVELS: [&str; 4] = ["warn", "info", "debug", "trace"];
    let start = LEVELS.iter().position(|level| *level == quiet).unwrap_or_default();
    LEVELS[(start + usize::from(verbose)).min(LEVELS.len() - 1)]
}

/// Log lines go to stderr from now on. `filter` is a level, or several as `module=level`, joined by
/// commas.
pub fn start(filter: &str, format: LogFormat) -> Result<(), Failure> {
    let unknown = |what: &str| {
        let error = format!("{what:?} is not a log level");
        Failure::new(Exit::Usage, error).hint("error, warn, info, debug or trace")
    };
    // By itself a word would be taken for a module.
    let mut words = filter.split(',').filter(|directive| !directive.contains('='));
    if let Some(word) = words.find(|word| word.parse::<LevelFilter>().is_err()) {
        return Err(unknown(word));
    }
    // The client's own lines say nothing that our errors do not say.
    let filter = if filter.contains('=') {
        filter.to_owned()
    } else {
        format!("{filter},alloy_rpc_client=off")
    };
    let filter = EnvFilter::try_new(&filter).map_err(|error| unknown(&filter).cause(error))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}
