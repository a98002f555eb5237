//! `openledger node`: the chain alone.

mod export;
mod settings;

use std::time::Duration;

use openledger_chain::Handle;
use serde_json::json;

pub use settings::NodeSettings;
use settings::{LOG_LEVEL, Settings};

use crate::{
    chain::start_node,
    cli::{NodeArgs, NodeCommand},
    failure::{Exit, Failure},
    logging,
    output::{Output, print, tell},
    signals::StopSignal,
};

/// How long a graceful stop may take: a block's time, the disk, and slow clients.
const STOP_TIME_MAX: Duration = Duration::from_secs(30);

/// `openledger node`.
pub async fn run(args: NodeArgs, output: Output, verbose: u8) -> Result<(), Failure> {
    if let Some(NodeCommand::ExportGenesis(export)) = &args.command {
        logging::start(logging::level("warn", verbose), logging::LogFormat::Text)?;
        return export::run(export, output);
    }
    let settings = Settings::read(args.config.as_deref(), &args.settings)?;
    if args.print_config {
        print(&settings.text(output)?);
        return Ok(());
    }
    let level = settings.log_level.as_deref();
    logging::start(level.unwrap_or(logging::level(LOG_LEVEL, verbose)), settings.log_format)?;
    let genesis = settings.load_genesis()?;

    let mut stop = StopSignal::listen()?;
    let node = tokio::select! {
        started = start_node(settings.chain.clone(), genesis) => started?,
        // Nothing was announced, and what is on the disk is as it was.
        () = stop.received() => return Ok(()),
    };
    announce(&settings, &node, output);
    let ended = tokio::select! {
        ended = node.stopped() => ended,
        () = stop.received() => Ok(()),
    };
    tell("stopping; a second signal ends at once");
    let stopped = tokio::time::timeout(STOP_TIME_MAX, node.shutdown()).await;
    ended.map_err(|error| Failure::new(Exit::Chain, "the node stopped").cause(error))?;
    match stopped {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            Err(Failure::new(Exit::Chain, "the node did not stop cleanly").cause(error))
        }
        Err(_) => {
            let error = format!("the node did not stop within {} s", STOP_TIME_MAX.as_secs());
            Err(Failure::new(Exit::Chain, error).hint("what it acknowledged is on the disk"))
        }
    }
}

fn announce(settings: &Settings, node: &Handle, output: Output) {
    let head = node.head();
    let data_dir = &settings.chain.data_dir;
    if output.json {
        let about = json!({
            "chain_id": node.chain_id(), "genesis_hash": node.genesis_hash(),
            "rpc_url": node.rpc_url(), "ws_url": node.ws_url(), "metrics_url": node.metrics_url(),
            "block": head.number, "block_hash": head.hash, "data_dir": data_dir,
        });
        return print(&about.to_string());
    }
    print(&format!("Chain     id {}, block {}", node.chain_id(), head.number));
    print(&format!("Genesis   {}", node.genesis_hash()));
    print(&format!("RPC       {}   {}", node.rpc_url(), node.ws_url()));
    if let Some(url) = node.metrics_url() {
        print(&format!("Metrics   {url}/metrics   /health   /ready"));
    }
    print(&format!("Data      {}", data_dir.display()));
    if settings.chain.dev {
        print("Keys      those of the public development mnemonic: for play money only");
    }
    print("Ctrl-C stops; the next start continues here.");
}
