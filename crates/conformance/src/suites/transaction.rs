//! TransactionTests: bytes that are a transaction under some forks.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::{Header, Transaction, transaction::Recovered};
use alloy_primitives::{Address, B256, Bytes, U256};
use openledger_chain::{
    GenesisAccount,
    conformance::{
        EthTx, EthereumHardforks, SpecId, World, calculate_initial_tx_gas_for_tx,
        decode_user_transaction, recover_before_homestead, tx_env,
    },
};
use serde::Deserialize;

use crate::{
    Case,
    ethereum::Network,
    json::{Hex, Quantity},
    verdict::{Failure, same},
};

#[derive(Deserialize)]
pub(super) struct TransactionTest {
    result: BTreeMap<String, Expected>,
    txbytes: Hex,
}

/// What one fork makes of the bytes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Expected {
    exception: Option<String>,
    hash: Option<B256>,
    sender: Option<Address>,
    intrinsic_gas: Option<Quantity>,
}

pub(super) fn cases(name: &str, test: TransactionTest) -> Vec<Case> {
    let bytes = &test.txbytes.0;
    let case = |(network, expected): (&String, &Expected)| {
        Case::run(format!("{name}/{network}"), || check(bytes, network, expected))
    };
    test.result.iter().map(case).collect()
}

fn check(bytes: &Bytes, network: &str, expected: &Expected) -> Result<(), Failure> {
    let network = Network::named(network)?;
    match (validate(bytes, &network), &expected.exception) {
        (Err(_), Some(_)) => Ok(()),
        (Ok(_), Some(exception)) => Err(Failure::Wrong(format!("accepted, expected {exception}"))),
        (Err(reason), None) => Err(Failure::Wrong(format!("refused: {reason}"))),
        (Ok((tx, intrinsic_gas)), None) => {
            same("hash", &Some(*tx.tx_hash()), &expected.hash)?;
            same("sender", &Some(tx.signer()), &expected.sender)?;
            let expected = expected.intrinsic_gas.ok_or("the fixture names no intrinsic gas")?;
            same("intrinsic gas", &intrinsic_gas, &expected.u64())
        }
    }
}

/// Decodes the bytes as the node does, and lets the engine judge the transaction, in a block without
/// a base fee and from an account that can pay for anything.
fn validate(bytes: &Bytes, network: &Network) -> Result<(Recovered<EthTx>, u64), String> {
    let forks = &network.forks;
    let tx = if forks.is_homestead_active_at_block(0) {
        decode_user_transaction(bytes.clone())?
    } else {
        recover_before_homestead(bytes)?
    };
    if tx.is_legacy() && tx.chain_id().is_some() && !forks.is_spurious_dragon_active_at_block(0) {
        return Err("a signature of EIP-155 before its time".to_owned());
    }
    let header = Header {
        number: 1,
        timestamp: 1,
        gas_limit: u64::MAX,
        base_fee_per_gas: forks.is_london_active_at_block(0).then_some(0),
        excess_blob_gas: forks.is_cancun_active_at_timestamp(0).then_some(0),
        ..Header::default()
    };
    let env = forks.evm_env(&header);
    let spec: SpecId = env.cfg_env.spec;
    let rich = GenesisAccount { balance: U256::MAX, nonce: tx.nonce(), ..Default::default() };
    let world = World::new([(tx.signer(), rich)]);
    let mut input = tx_env(&tx);
    // Whether an account can have the value is not asked here, only whether it can be written.
    input.value = U256::ZERO;
    let intrinsic = calculate_initial_tx_gas_for_tx(&input, spec);
    world.transact(env, input, &Arc::default())?;
    Ok((tx, intrinsic.initial_total_gas))
}
