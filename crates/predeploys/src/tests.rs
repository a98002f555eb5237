//! What is made is what the specifications say. Tests that read the npm package are ignored unless asked
//! for: `cargo xtask test` installs it and asks.

use std::path::Path;

use alloy_primitives::{Address, B256, Bytes, U256, b256, hex, keccak256};
use kona_genesis::RollupConfig;
use kona_hardforks::Isthmus;
use openledger_chain::{Genesis, L1FeeScalars, RollupL1};
use serde_json::Value;

use crate::{
    addresses::{DEPOSITOR, implementation},
    inputs::{Inputs, IsthmusContract, Source},
    machine::Machine,
    predeploys::proxied,
};

fn crates() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies beside the others")
}

fn selector(signature: &str) -> Bytes {
    keccak256(signature)[..4].to_vec().into()
}

#[test]
#[ignore = "needs the npm package: `npm ci --ignore-scripts` in crates/predeploys"]
fn the_committed_genesis_is_what_the_generator_makes() {
    let output = crate::make(crates(), &crates().join("predeploys/devnet.json")).unwrap();
    let stale = output.stale(&crates().join("chain/genesis")).unwrap();
    assert!(
        stale.is_empty(),
        "{stale:?}: run `cargo run --release -p openledger-predeploys` and commit the result"
    );
}

/// The compiler's own runtime code, with the immutables left out, against what the constructors made.
#[test]
#[ignore = "needs the npm package: `npm ci --ignore-scripts` in crates/predeploys"]
fn code_is_that_of_the_compiler_but_for_immutables() {
    let committed =
        std::fs::read_to_string(crates().join("chain/genesis/predeploys.json")).unwrap();
    let committed: Value = serde_json::from_str(&committed).unwrap();
    let values = std::fs::read_to_string(crates().join("predeploys/devnet.json")).unwrap();
    let values = serde_json::from_str(&values).unwrap();
    let package = crates().join("predeploys/node_modules/@eth-optimism/contracts-bedrock");
    let mut compared = 0;
    for contract in proxied(&values) {
        let Source::Bedrock(name) = contract.source else { continue };
        let artifact = package.join(format!("forge-artifacts/{name}.sol/{name}.json"));
        let artifact: Value =
            serde_json::from_str(&std::fs::read_to_string(artifact).unwrap()).unwrap();
        let expected =
            hex::decode(artifact["deployedBytecode"]["object"].as_str().unwrap()).unwrap();
        let address = implementation(contract.suffix).to_string().to_lowercase();
        let mut made = hex::decode(committed[address]["code"].as_str().unwrap()).unwrap();
        let immutables = artifact["deployedBytecode"]["immutableReferences"].as_object();
        for place in immutables.into_iter().flat_map(|table| table.values()) {
            for reference in place.as_array().unwrap() {
                let number = |key: &str| usize::try_from(reference[key].as_u64().unwrap()).unwrap();
                let (start, length) = (number("start"), number("length"));
                made[start..start + length].fill(0);
            }
        }
        assert_eq!(hex::encode(made), hex::encode(expected), "{name}");
        compared += 1;
    }
    assert_eq!(compared, 14);
}

#[test]
fn isthmus_deploys_what_its_specification_hashes() {
    let mut inputs = Inputs::new(crates());
    for (contract, hash) in [
        (IsthmusContract::GasPriceOracle, Isthmus::GAS_PRICE_ORACLE_CODE_HASH),
        (IsthmusContract::OperatorFeeVault, Isthmus::OPERATOR_FEE_VAULT_CODE_HASH),
        (IsthmusContract::L1Block, Isthmus::L1_BLOCK_DEPLOYER_CODE_HASH),
    ] {
        let mut machine = Machine::new(1);
        let at = Address::repeat_byte(1);
        machine.construct(at, inputs.creation(Source::Isthmus(contract)).unwrap()).unwrap();
        assert_eq!(keccak256(machine.contract(at).code), hash, "{contract:?}");
    }
}

/// Whatever the attributes, our L1Block answers every question and fills every slot as the one that
/// Isthmus deploys.
#[test]
fn our_l1_block_is_to_nodes_and_contracts_what_the_standard_one_is() {
    const QUESTIONS: [&str; 15] = [
        "DEPOSITOR_ACCOUNT()",
        "baseFeeScalar()",
        "basefee()",
        "batcherHash()",
        "blobBaseFee()",
        "blobBaseFeeScalar()",
        "gasPayingToken()",
        "hash()",
        "l1FeeOverhead()",
        "l1FeeScalar()",
        "number()",
        "operatorFeeConstant()",
        "operatorFeeScalar()",
        "sequenceNumber()",
        "timestamp()",
    ];
    let mut inputs = Inputs::new(crates());
    let standard = Source::Isthmus(IsthmusContract::L1Block);
    let mut pair = [standard, Source::Ours("L1Block")].map(|source| {
        let mut machine = Machine::new(1);
        machine.construct(L1_BLOCK, inputs.creation(source).unwrap()).unwrap();
        machine
    });
    for round in 0u64..32 {
        let mut attributes = selector("setL1BlockValuesIsthmus()").to_vec();
        let random = (0u64..6).map(|word| keccak256((round * 6 + word).to_be_bytes()));
        attributes.extend(random.flat_map(|word| word.0));
        attributes.truncate(176);
        for machine in &mut pair {
            machine.call(DEPOSITOR, L1_BLOCK, attributes.clone().into()).unwrap();
            assert!(machine.call(Address::ZERO, L1_BLOCK, attributes.clone().into()).is_err());
        }
        for question in QUESTIONS {
            let [standard, ours] = pair
                .each_mut()
                .map(|machine| machine.call(Address::ZERO, L1_BLOCK, selector(question)).unwrap());
            assert_eq!(ours, standard, "{question}");
        }
        let [standard, ours] = pair.each_mut().map(|machine| machine.contract(L1_BLOCK).storage);
        assert_eq!(ours, standard);
        assert_eq!(standard.len(), 7);
    }
}

const L1_BLOCK: Address = crate::addresses::predeploy(0x15);

#[test]
fn kona_reads_from_rollup_json_what_the_genesis_says() {
    let l1_fees = L1FeeScalars {
        base_fee_scalar: 5_227,
        blob_base_fee_scalar: 1_014_213,
        operator_fee_scalar: 77,
        operator_fee_constant: 88,
    };
    let genesis = Genesis { timestamp: Some(1_700_000_000), l1_fees, ..Genesis::devnet() };
    let l1 = RollupL1 {
        chain_id: 11_155_111,
        genesis_number: 7,
        genesis_hash: B256::repeat_byte(9),
        batch_inbox: Address::repeat_byte(1),
        deposit_contract: Address::repeat_byte(2),
        system_config: Address::repeat_byte(3),
        protocol_versions: Address::repeat_byte(4),
    };
    let json = genesis.rollup_json(&l1).unwrap();
    let read: RollupConfig = serde_json::from_value(json.clone()).unwrap();

    assert_eq!((read.genesis.l1.number, read.genesis.l1.hash), (7, B256::repeat_byte(9)));
    assert_eq!(read.genesis.l2.number, 0);
    assert_eq!(json["genesis"]["l2"]["hash"], read.genesis.l2.hash.to_string());
    assert_eq!(read.genesis.l2_time, 1_700_000_000);
    let config = read.genesis.system_config.unwrap();
    assert_eq!(config.batcher_address, genesis.batcher);
    assert_eq!(config.gas_limit, genesis.gas_limit);
    assert_eq!(config.overhead, U256::ZERO);
    let scalar = b256!("0x010000000000000000000000000000000000000000000000000f79c50000146b");
    assert_eq!(B256::from(config.scalar), scalar);
    assert_eq!(config.eip1559_denominator, Some(genesis.eip1559_denominator));
    assert_eq!(config.eip1559_elasticity, Some(genesis.eip1559_elasticity));
    assert_eq!(config.operator_fee_scalar, Some(77));
    assert_eq!(config.operator_fee_constant, Some(88));

    assert_eq!(read.block_time, 1);
    assert_eq!(read.l1_chain_id, 11_155_111);
    assert_eq!(read.l2_chain_id.id(), genesis.chain_id);
    assert_eq!(read.batch_inbox_address, l1.batch_inbox);
    assert_eq!(read.deposit_contract_address, l1.deposit_contract);
    assert_eq!(read.l1_system_config_address, l1.system_config);
    assert_eq!(read.protocol_versions_address, l1.protocol_versions);
    assert_eq!(read.max_sequencer_drift(genesis.timestamp.unwrap()), 1_800);
    assert_eq!(read.max_sequencer_drift, 1_800);
    assert_eq!(read.seq_window_size, 3_600);
    assert_eq!((read.channel_timeout, read.granite_channel_timeout), (300, 50));
    assert!(read.is_isthmus_active(0) && !read.is_jovian_active(u64::MAX));
    assert_eq!(read.hardforks.delta_time, Some(0));
    assert_eq!(read.hardforks.isthmus_time, Some(0));
    assert!(read.alt_da_config.is_none());
    let fees = &read.chain_op_config;
    assert_eq!(fees.eip1559_elasticity, u64::from(genesis.eip1559_elasticity));
    assert_eq!(fees.eip1559_denominator, u64::from(genesis.eip1559_denominator));
    assert_eq!(fees.eip1559_denominator_canyon, u64::from(genesis.eip1559_denominator));
}
