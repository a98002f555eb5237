//! A development chain on 127.0.0.1:8545, for trying wallets and tools against it.
//!
//! `cargo run --release -p openledger-chain --example devnode -- [data-dir] [port] [genesis.json]`

use std::io::Write;

use openledger_chain::{Config, Genesis, Node};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let data_dir = args.next().unwrap_or_else(|| "devnode-data".to_owned());
    let port: u16 = args.next().map_or(Ok(8545), |port| port.parse())?;
    let genesis = match args.next() {
        Some(file) => serde_json::from_str(&std::fs::read_to_string(file)?)?,
        None => Genesis::devnet(),
    };
    let config = Config { rpc_addr: ([127, 0, 0, 1], port).into(), ..Config::new(data_dir) };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let node = Node::start(config, genesis).await?;
        writeln!(std::io::stdout(), "{} (genesis {})", node.rpc_url(), node.genesis_hash())?;
        node.stopped().await?;
        Ok(())
    })
}
