//! Where each setting of the node comes from: flags over environment over file over defaults.
//!
//! The keys of the file are the fields of [`Config`] and the three of this file, so a new setting of
//! the node needs a flag only if it deserves one.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use openledger_chain::{Config, Genesis};
use serde::Serialize;
use toml::{Table, Value};

use crate::{
    chain::devnet_genesis,
    failure::{Exit, Failure, OrFail},
    logging::LogFormat,
    output::{Output, tell},
};

/// What is logged unless told otherwise.
pub const LOG_LEVEL: &str = "info";

/// Settings as flags and environment variables give them. By the names that they have in the file.
#[derive(Debug, Default, Clone, Args, Serialize)]
pub struct NodeSettings {
    /// A development chain: with the OpenLedger contracts and funded accounts, unless --genesis names
    /// another, and with methods for development.
    #[arg(long, env = "OPENLEDGER_DEV", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    dev: Option<bool>,
    /// Let a development chain listen where other machines reach it.
    #[arg(long, env = "OPENLEDGER_DEV_PUBLIC", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    dev_public: Option<bool>,
    /// How the chain begins, as JSON.
    #[arg(long, env = "OPENLEDGER_GENESIS", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    genesis: Option<PathBuf>,
    /// Where the chain is kept [default: openledger-chain].
    #[arg(long, env = "OPENLEDGER_DATA_DIR", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// JSON-RPC, HTTP and WebSocket [default: 127.0.0.1:8545].
    #[arg(long, env = "OPENLEDGER_RPC_ADDR", value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    rpc_addr: Option<SocketAddr>,
    /// Port of the JSON-RPC address; 0 takes a free one.
    #[arg(long, value_name = "PORT")]
    #[serde(skip)]
    rpc_port: Option<u16>,
    /// Prometheus metrics, /health and /ready [default: not served].
    #[arg(long, env = "OPENLEDGER_METRICS_ADDR", value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics_addr: Option<SocketAddr>,
    /// When blocks are made [default: every-second].
    #[arg(long, env = "OPENLEDGER_BLOCK_PRODUCTION", value_name = "WHEN",
        value_parser = ["every-second", "on-transaction", "manual"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    block_production: Option<String>,
    /// How many past states can be asked for [default: 8192].
    #[arg(long, env = "OPENLEDGER_HISTORY_BLOCKS", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    history_blocks: Option<u64>,
    /// Name that requests may call the node by, beside localhost and IP addresses; `*` for any.
    #[arg(
        long = "allowed-host",
        env = "OPENLEDGER_ALLOWED_HOSTS",
        value_name = "NAME",
        value_delimiter = ','
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_hosts: Option<Vec<String>>,
    /// Origin whose pages may call from a browser; `*` for any [default: none; with --dev any].
    #[arg(
        long = "cors-origin",
        env = "OPENLEDGER_CORS_ORIGINS",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    cors_origins: Option<Vec<String>>,
    /// What is logged: error, warn, info, debug, trace, or module=level pairs [default: info].
    #[arg(long, env = "OPENLEDGER_LOG", value_name = "LEVEL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_level: Option<String>,
    /// How log lines look.
    #[arg(long, env = "OPENLEDGER_LOG_FORMAT", value_name = "FORMAT", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    log_format: Option<LogFormat>,
}

/// The settings that hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub chain: Config,
    pub genesis: Option<PathBuf>,
    pub log_level: Option<String>,
    pub log_format: LogFormat,
}

impl Settings {
    /// Reads the file, if one is named, and puts flags and environment over it.
    pub fn read(file: Option<&Path>, given: &NodeSettings) -> Result<Self, Failure> {
        let (mut table, source) = match file {
            None => (Table::new(), "the settings".to_owned()),
            Some(path) => {
                let source = path.display().to_string();
                let text = fs::read_to_string(path)
                    .or_fail(Exit::NotFound, format!("cannot read {source}"))?;
                let table = text
                    .parse::<Table>()
                    .or_fail(Exit::Usage, format!("{source} is not a TOML document"))?;
                (table, source)
            }
        };
        let mut settings = Self::from_table(&mut table, given)
            .map_err(|cause| invalid(&source).cause(cause.to_string().trim_end()))?;
        if let Some(port) = given.rpc_port {
            settings.chain.rpc_addr.set_port(port);
        }
        Ok(settings)
    }

    fn from_table(table: &mut Table, given: &NodeSettings) -> Result<Self, toml::de::Error> {
        let over = Table::try_from(given).map_err(<toml::de::Error as serde::de::Error>::custom)?;
        table.extend(over);
        let genesis = table.remove("genesis").map(Value::try_into).transpose()?;
        let log_level = table.remove("log_level").map(Value::try_into).transpose()?;
        let log_format = table.remove("log_format").map(Value::try_into).transpose()?;
        let chain = std::mem::take(table).try_into()?;
        Ok(Self { chain, genesis, log_level, log_format: log_format.unwrap_or_default() })
    }

    /// All settings, as a file that gives the same ones.
    pub fn text(&self, output: Output) -> Result<String, Failure> {
        let failed = "the settings cannot be written";
        let mut table = Table::try_from(&self.chain).or_fail(Exit::Failure, failed)?;
        let format = Value::try_from(self.log_format).or_fail(Exit::Failure, failed)?;
        table.insert("log_format".to_owned(), format);
        let level = self.log_level.as_deref().unwrap_or(LOG_LEVEL);
        table.insert("log_level".to_owned(), Value::from(level));
        if let Some(genesis) = &self.genesis {
            let genesis = Value::try_from(genesis).or_fail(Exit::Failure, failed)?;
            table.insert("genesis".to_owned(), genesis);
        }
        if output.json {
            return serde_json::to_string(&table).or_fail(Exit::Failure, failed);
        }
        let text = toml::to_string(&table).or_fail(Exit::Failure, failed)?;
        let absent =
            ["genesis", "metrics_addr"].into_iter().filter(|key| !table.contains_key(*key));
        Ok(absent.fold(text, |text, key| text + "# " + key + " is not set\n").trim_end().to_owned())
    }

    /// The genesis that the settings name.
    pub fn load_genesis(&self) -> Result<Genesis, Failure> {
        match &self.genesis {
            Some(path) => read_genesis(path),
            None if self.chain.dev => devnet_genesis(),
            None => Err(Failure::new(Exit::Usage, "it is not said which chain to run")
                .hint("--dev for a development chain, --genesis FILE for any other")),
        }
    }
}

/// A genesis in our own JSON shape, or in geth's; then a `rollup.json` beside it says the rest.
pub fn read_genesis(path: &Path) -> Result<Genesis, Failure> {
    let shown = path.display();
    let json = fs::read(path).or_fail(Exit::NotFound, format!("cannot read {shown}"))?;
    let rollup = fs::read(path.with_file_name("rollup.json")).ok();
    if Genesis::is_geth_json(&json) && rollup.is_none() {
        tell(&format!("there is no rollup.json beside {shown}: no L1 fees, no batcher"));
    }
    Genesis::from_json(&json, rollup.as_deref())
        .or_fail(Exit::Usage, format!("{shown} is not a genesis"))
}

fn invalid(source: &str) -> Failure {
    Failure::new(Exit::Usage, format!("{source} cannot be used"))
        .hint("`openledger node --print-config` shows every setting; docs/node.md explains them")
}

#[cfg(test)]
mod tests {
    use openledger_chain::BlockProduction;

    use super::*;

    fn read(file: &str, given: NodeSettings) -> Result<Settings, Failure> {
        let mut path = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut path, file.as_bytes()).unwrap();
        Settings::read(Some(path.path()), &given)
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_defaults() {
        let file = "data_dir = \"/file\"\nhistory_blocks = 7\nblock_production = \"manual\"\n\
                    log_format = \"json\"\nallowed_hosts = [\"a.example\"]\n";
        let given = NodeSettings {
            history_blocks: Some(9),
            rpc_port: Some(0),
            allowed_hosts: Some(vec!["b.example".to_owned()]),
            ..NodeSettings::default()
        };
        let settings = read(file, given).unwrap();
        assert_eq!(settings.chain.data_dir, Path::new("/file"));
        assert_eq!(settings.chain.history_blocks, 9);
        assert_eq!(settings.chain.block_production, BlockProduction::Manual);
        assert_eq!(settings.chain.allowed_hosts, ["b.example"]);
        assert_eq!(settings.chain.rpc_addr.to_string(), "127.0.0.1:0");
        assert_eq!(settings.log_format, LogFormat::Json);
        let defaults = Settings::read(None, &NodeSettings::default()).unwrap();
        assert_eq!(defaults.chain, Config::default());
    }

    #[test]
    fn what_is_printed_is_a_file_that_gives_the_same_settings() {
        let file = "dev = true\nmetrics_addr = \"127.0.0.1:9\"\ngenesis = \"g.json\"\n\
                    cors_origins = [\"https://a.example\"]\nlog_level = \"debug\"\n";
        let settings = read(file, NodeSettings::default()).unwrap();
        let printed = settings.text(Output { json: false }).unwrap();
        assert_eq!(read(&printed, NodeSettings::default()).unwrap(), settings, "{printed}");
        let defaults = Settings::read(None, &NodeSettings::default()).unwrap();
        let printed = defaults.text(Output { json: false }).unwrap();
        assert_eq!(read(&printed, NodeSettings::default()).unwrap().chain, defaults.chain);
        assert!(printed.contains("# metrics_addr is not set"), "{printed}");
    }

    #[test]
    fn an_unknown_key_or_a_wrong_value_is_named() {
        for (file, named) in [
            ("rpc_adr = \"127.0.0.1:1\"", "rpc_adr"),
            ("history_blocks = \"many\"", "many"),
            ("block_production = \"sometimes\"", "sometimes"),
            ("log_format = \"xml\"", "xml"),
            ("[rpc]\naddr = 1", "rpc"),
            ("dev = ", "TOML"),
        ] {
            let said = read(file, NodeSettings::default()).unwrap_err().to_string();
            assert!(said.contains(named), "{file}: {said}");
        }
    }
}
