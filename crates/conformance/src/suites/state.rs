//! GeneralStateTests: one transaction on one state, under one fork.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::{Header, transaction::Recovered};
use alloy_primitives::{Address, B256, Bytes, TxKind, keccak256};
use alloy_signer_local::PrivateKeySigner;
use openledger_chain::{
    GenesisAccount,
    conformance::{
        AncestorHashes, EthForks, EthTx, EthereumHardforks, TxEnv, World, decode_user_transaction,
        recover_before_homestead, tx_env,
    },
};
use serde::Deserialize;

use crate::{
    Case,
    ethereum::Network,
    json::{Accounts, Hex, Quantity},
    suites::refuse_drafts,
    verdict::{Failure, same},
};

/// Ancestors that the EVM can ask for.
const HASHES_MAX: u64 = 256;

#[derive(Deserialize)]
pub(super) struct StateTest {
    env: Env,
    pre: Accounts,
    transaction: TxParts,
    post: BTreeMap<String, Vec<Post>>,
}

/// The block that the transaction is in.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Env {
    current_number: Quantity,
    current_timestamp: Quantity,
    current_coinbase: Address,
    current_gas_limit: Quantity,
    current_difficulty: Option<Quantity>,
    current_base_fee: Option<Quantity>,
    current_random: Option<Quantity>,
    current_excess_blob_gas: Option<Quantity>,
}

/// The transaction's fields, where a list has one entry per variant.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TxParts {
    #[serde(default)]
    data: Vec<Hex>,
    #[serde(default)]
    gas_limit: Vec<Quantity>,
    gas_price: Option<Quantity>,
    nonce: Quantity,
    secret_key: Option<B256>,
    sender: Option<Address>,
    #[serde(default)]
    to: String,
    #[serde(default)]
    value: Vec<String>,
}

/// What one variant leads to.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Post {
    hash: B256,
    logs: B256,
    indexes: Indexes,
    txbytes: Option<Hex>,
    expect_exception: Option<String>,
}

/// Which entry of each list makes the variant.
#[derive(Clone, Copy, Deserialize)]
struct Indexes {
    data: usize,
    gas: usize,
    value: usize,
}

pub(super) fn cases(file: &str, name: &str, test: StateTest) -> Vec<Case> {
    let StateTest { env, pre, transaction, post } = test;
    let before = match pre.alloc() {
        Ok(alloc) => Before { world: World::new(alloc.clone()), alloc },
        Err(reason) => return vec![Case::run(name, || Err(reason.into()))],
    };
    let mut cases = Vec::new();
    for (network, variants) in post {
        for post in variants {
            let Indexes { data, gas, value } = post.indexes;
            let name = format!("{name}/{network}/d{data}g{gas}v{value}");
            cases.push(Case::run(name, || {
                refuse_drafts(file, &network)?;
                check(&before, &env, &transaction, &network, &post)
            }));
        }
    }
    cases
}

/// The state that every variant begins with.
struct Before {
    alloc: Vec<(Address, GenesisAccount)>,
    world: World,
}

impl Before {
    /// The root after a transaction that was refused: nothing happened, except that the fixtures give the
    /// beneficiary a reward of zero, which before EIP-161 makes an empty account.
    fn root_of_refusal(&self, forks: &EthForks, beneficiary: Address) -> B256 {
        let creates = !forks.is_spurious_dragon_active_at_block(0);
        if !creates || self.alloc.iter().any(|(address, _)| *address == beneficiary) {
            return self.world.root();
        }
        let empty = (beneficiary, GenesisAccount::default());
        World::new(self.alloc.iter().cloned().chain([empty])).root()
    }
}

fn check(
    before: &Before,
    env: &Env,
    parts: &TxParts,
    network: &str,
    post: &Post,
) -> Result<(), Failure> {
    let network = Network::named(network)?;
    let forks = &network.forks;
    let london = forks.is_london_active_at_block(0);
    let random = env.current_random.or(env.current_difficulty).unwrap_or_default();
    let header = Header {
        number: env.current_number.u64(),
        timestamp: env.current_timestamp.u64(),
        beneficiary: env.current_coinbase,
        gas_limit: env.current_gas_limit.u64(),
        difficulty: env.current_difficulty.unwrap_or_default().0,
        mix_hash: random.0.into(),
        base_fee_per_gas: london.then(|| env.current_base_fee.map_or(0x0a, Quantity::u64)),
        excess_blob_gas: forks
            .blob_params(env.current_timestamp.u64())
            .map(|_| env.current_excess_blob_gas.unwrap_or_default().u64()),
        ..Header::default()
    };
    let tx = match &post.txbytes {
        Some(bytes) => decode(&bytes.0, forks.is_homestead_active_at_block(0)).and_then(|tx| {
            match parts.sender.filter(|sender| *sender != tx.signer()) {
                Some(sender) => Err(format!("sender {}, expected {sender}", tx.signer())),
                None => Ok(tx_env(&tx)),
            }
        }),
        None => build(parts, post.indexes),
    };
    let outcome = tx.and_then(|tx| {
        before.world.transact(forks.evm_env(&header), tx, &ancestors(header.number))
    });
    let (root, logs) = match (&outcome, &post.expect_exception) {
        (Ok(_), Some(exception)) => {
            return Err(Failure::Wrong(format!("accepted, expected {exception}")));
        }
        // The oldest fixtures have no transaction bytes and do not say which transactions are invalid;
        // there the root alone tells.
        (Err(reason), None) if post.txbytes.is_some() => {
            return Err(Failure::Wrong(format!("refused: {reason}")));
        }
        (Err(_), _) => (
            before.root_of_refusal(forks, header.beneficiary),
            alloy_rlp::encode(Vec::<alloy_primitives::Log>::new()),
        ),
        (Ok(done), None) => (done.world.root(), alloy_rlp::encode(&done.logs)),
    };
    same("logs hash", &keccak256(logs), &post.logs)?;
    same("state root", &root, &post.hash)
}

fn decode(bytes: &Bytes, homestead: bool) -> Result<Recovered<EthTx>, String> {
    if homestead { decode_user_transaction(bytes.clone()) } else { recover_before_homestead(bytes) }
}

/// A legacy transaction from its fields, for the fixtures that have no bytes.
fn build(parts: &TxParts, at: Indexes) -> Result<TxEnv, String> {
    let key = parts.secret_key.ok_or("the fixture has neither transaction bytes nor a key")?;
    let signer = PrivateKeySigner::from_bytes(&key).map_err(|error| error.to_string())?;
    let field = "a variant of the transaction is missing";
    let kind = if parts.to.is_empty() {
        TxKind::Create
    } else {
        TxKind::Call(parts.to.parse().map_err(|error| format!("to: {error}"))?)
    };
    Ok(TxEnv {
        caller: signer.address(),
        kind,
        nonce: parts.nonce.u64(),
        gas_price: parts.gas_price.ok_or("no gas price")?.0.saturating_to(),
        gas_limit: parts.gas_limit.get(at.gas).ok_or(field)?.u64(),
        value: Quantity::parse(parts.value.get(at.value).ok_or(field)?)?.0,
        data: parts.data.get(at.data).ok_or(field)?.0.clone(),
        chain_id: None,
        ..TxEnv::default()
    })
}

/// The fixtures' own rule: the hash of block `n` is that of the number's decimal digits.
fn ancestors(number: u64) -> AncestorHashes {
    let hash = |n: u64| (n, keccak256(n.to_string()));
    Arc::new((number.saturating_sub(HASHES_MAX)..number).map(hash).collect())
}
