//! The state that a run begins with, as each node reads it.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use alloy_primitives::{Address, U256, uint};
use eyre::Result;
use openledger_chain::{Genesis, GenesisAccount};
use openledger_contracts::genesis_alloc;
use serde_json::json;

use crate::{
    accounts::{Account, resident},
    workload::further_accounts,
};

/// The devnet's, for which the contracts of its genesis are made.
pub(crate) const CHAIN_ID: u64 = openledger_chain::DEVNET_CHAIN_ID;
/// Gas per block, more than any node here can fill.
pub(crate) const GAS_LIMIT: u64 = 30_000_000_000;
/// A million coins each.
pub(crate) const SENDER_BALANCE: U256 = uint!(1_000_000_000_000_000_000_000_000_U256);
const RESIDENT_BALANCE: U256 = uint!(1_000_000_000_000_000_000_U256);

/// One state, in the shape of our node and in that of geth.
#[derive(Clone, Debug)]
pub(crate) struct GenesisFiles {
    pub(crate) ours: PathBuf,
    pub(crate) geth: PathBuf,
}

impl GenesisFiles {
    /// Writes the state with the senders' money, the contracts and `residents` further accounts.
    pub(crate) fn write(dir: &Path, senders: &[Account], residents: u64) -> Result<Self> {
        let files = Self {
            ours: dir.join(format!("ours-{residents}.json")),
            geth: dir.join(format!("geth-{residents}.json")),
        };
        let mut genesis = Genesis::devnet();
        genesis.gas_limit = GAS_LIMIT;
        let funded = senders.iter().map(|sender| sender.address).chain(further_accounts());
        let rich = funded.map(|address| (address, account(SENDER_BALANCE)));
        let residents = (0..residents).map(|i| (resident(i), account(RESIDENT_BALANCE)));
        let contracts = genesis_alloc().into_iter().map(|(address, contract)| {
            let openledger_contracts::GenesisAccount { balance, nonce, code, storage } = contract;
            (address, GenesisAccount { balance, nonce, code, storage })
        });
        genesis.extend_alloc(rich.chain(residents).chain(contracts).collect());
        let mut out = BufWriter::new(File::create(&files.ours)?);
        serde_json::to_writer(&mut out, &genesis)?;
        out.flush()?;

        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let geth = json!({
            "config": { "chainId": CHAIN_ID },
            "nonce": "0x0",
            "timestamp": format!("{now:#x}"),
            "extraData": "0x",
            "gasLimit": format!("{GAS_LIMIT:#x}"),
            "difficulty": "0x0",
            "baseFeePerGas": format!("{:#x}", genesis.base_fee_per_gas),
            "coinbase": Address::ZERO,
            "alloc": genesis.alloc,
        });
        let mut out = BufWriter::new(File::create(&files.geth)?);
        serde_json::to_writer(&mut out, &geth)?;
        out.flush()?;
        Ok(files)
    }
}

fn account(balance: U256) -> GenesisAccount {
    GenesisAccount { balance, ..GenesisAccount::default() }
}
