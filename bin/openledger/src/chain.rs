use openledger_chain::{Config, Error, Genesis, Handle, Node};
use openledger_contracts::GENESIS_ALLOC_JSON;

use crate::failure::{Exit, Failure, OrFail};

/// The genesis of a development chain: the development accounts and the OpenLedger contracts.
pub fn devnet_genesis() -> Result<Genesis, Failure> {
    let mut genesis = Genesis::devnet();
    let contracts = Genesis::alloc_from_json(GENESIS_ALLOC_JSON)
        .or_fail(Exit::Failure, "the contracts of the genesis cannot be read")?;
    genesis.extend_alloc(contracts);
    Ok(genesis)
}

/// Starts a node; every command that runs one does it here.
pub async fn start_node(config: Config, genesis: Genesis) -> Result<Handle, Failure> {
    let metrics_addr = config.metrics_addr;
    Node::start(config, genesis).await.map_err(|error| {
        let (exit, hint) = match &error {
            Error::PortInUse { addr } if Some(*addr) == metrics_addr => (
                Exit::Conflict,
                "stop the other program, or choose another port with --metrics-addr",
            ),
            Error::PortInUse { .. } => {
                (Exit::Conflict, "stop the other program, or choose another port with --rpc-addr")
            }
            Error::DataDirLocked { .. } => {
                (Exit::Conflict, "stop the other node, or choose another folder with --data-dir")
            }
            Error::GenesisMismatch { .. } | Error::ChainIdMismatch { .. } => {
                (Exit::Conflict, "this folder holds another chain; choose another with --data-dir")
            }
            Error::DevOnPublicAddress { .. } => (
                Exit::Usage,
                "leave --rpc-addr on 127.0.0.1; on a network that you trust add --dev-public",
            ),
            Error::InvalidConfig(_) | Error::InvalidGenesis(_) => {
                (Exit::Usage, "docs/node.md explains each setting")
            }
            _ => (
                Exit::Chain,
                "see the message above; the block log is not changed by a failed start",
            ),
        };
        Failure::new(exit, "the node did not start").cause(error).hint(hint)
    })
}
