//! Our node as a process of its own, for when no other program is given: the same program, started
//! again, with the library that it was built with.

use std::{fs, path::Path};

use eyre::{Result, WrapErr};
use openledger_chain::{Config, Genesis, Node};

/// First argument of the process that is the node.
pub(crate) const SERVE: &str = "serve";

/// Runs a node with its default settings until it is ended.
pub(crate) fn serve(data_dir: &str, port: &str, genesis: &str) -> Result<()> {
    let port: u16 = port.parse().wrap_err_with(|| format!("{port} is not a port"))?;
    let genesis: Genesis = read(Path::new(genesis))?;
    let config = Config { rpc_addr: ([127, 0, 0, 1], port).into(), ..Config::new(data_dir) };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let node = Node::start(config, genesis).await?;
        node.stopped().await?;
        Ok(())
    })
}

fn read(path: &Path) -> Result<Genesis> {
    let text =
        fs::read_to_string(path).wrap_err_with(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).wrap_err("not a genesis")
}
