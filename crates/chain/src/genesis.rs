//! How a chain begins: its rules, its first accounts and its first block.

mod from_geth;
mod geth;
mod predeploys;
mod rollup;
mod stored;

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::{
    BlockBody, EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Header, proofs::calculate_transaction_root,
};
use alloy_eips::{
    eip2935::{HISTORY_STORAGE_ADDRESS, HISTORY_STORAGE_CODE},
    eip4788::{BEACON_ROOTS_ADDRESS, BEACON_ROOTS_CODE},
    eip7685::EMPTY_REQUESTS_HASH,
};
use alloy_primitives::{Address, B256, Bytes, U256, address, uint};
use op_alloy_consensus::OpTxEnvelope;
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    execution::{FEE_VAULT, MESSAGE_PASSER},
    state::{HistoryLimits, PlainAccount, Restore, SlotDiff, StateView, World},
};

pub(crate) use rollup::BLOCK_TIME_S;
pub use rollup::RollupL1;

/// Chain id of a development network.
pub const DEVNET_CHAIN_ID: u64 = 161_337;
/// Balance of each development account: 10,000 OPEN.
pub const DEV_BALANCE: U256 = uint!(10_000_000_000_000_000_000_000_U256);

const DEVNET_GAS_LIMIT: u64 = 60_000_000;
const DEVNET_BASE_FEE: u64 = 1_000_000_000;
/// The values that OP chains use since Canyon and Holocene.
const DEVNET_EIP1559_DENOMINATOR: u32 = 250;
const DEVNET_EIP1559_ELASTICITY: u32 = 6;
/// A block must have room for the attributes deposit (1 M gas) and for users.
const GAS_LIMIT_MIN: u64 = 5_000_000;

/// How a chain begins. Everything in it is part of the genesis block or of the rules that later
/// blocks follow, so two nodes with equal values make the same chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Genesis {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Time of block 0 in seconds. `None` takes the wall clock at the first start and, on later
    /// starts, what the data directory remembers.
    pub timestamp: Option<u64>,
    /// Gas per block.
    pub gas_limit: u64,
    /// Base fee of block 0, in wei.
    pub base_fee_per_gas: u64,
    /// The base fee moves by at most one part in this many per block, times elasticity − 1.
    pub eip1559_denominator: u32,
    /// The gas limit over the gas target.
    pub eip1559_elasticity: u32,
    /// What transactions pay for L1 data and to the operator.
    pub l1_fees: L1FeeScalars,
    /// The account that posts batches to L1.
    pub batcher: Address,
    /// The first accounts.
    #[serde(with = "stored")]
    pub alloc: BTreeMap<Address, GenesisAccount>,
}

/// Fee parameters that the L1 attributes carry (Ecotone and Isthmus). All zero: no L1 fee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct L1FeeScalars {
    /// Scales the L1 base fee, in millionths.
    pub base_fee_scalar: u32,
    /// Scales the L1 blob base fee, in millionths.
    pub blob_base_fee_scalar: u32,
    /// Operator fee per gas, in millionths of a wei.
    pub operator_fee_scalar: u32,
    /// Operator fee per transaction, in wei.
    pub operator_fee_constant: u64,
}

/// One account of the genesis, in geth's JSON shape. What is absent is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GenesisAccount {
    /// Balance in wei.
    pub balance: U256,
    /// Nonce.
    #[serde(with = "alloy_serde::quantity")]
    pub nonce: u64,
    /// Runtime code.
    pub code: Bytes,
    /// Storage by slot.
    pub storage: BTreeMap<B256, B256>,
}

impl Genesis {
    /// A development network: chain 161337, the ten development accounts with [`DEV_BALANCE`] each,
    /// the predeploys and preinstalls of an OP chain, and the contracts that the protocol itself
    /// calls (EIP-4788, EIP-2935). All of OPEN is there from the beginning; what nobody has been given
    /// is in the NativeAssetLiquidity.
    pub fn devnet() -> Self {
        let system = [
            (BEACON_ROOTS_ADDRESS, BEACON_ROOTS_CODE.clone()),
            (HISTORY_STORAGE_ADDRESS, HISTORY_STORAGE_CODE.clone()),
        ]
        .map(|(address, code)| {
            (address, GenesisAccount { nonce: 1, code, ..GenesisAccount::default() })
        });
        let funded = dev_accounts().map(|address| {
            (address, GenesisAccount { balance: DEV_BALANCE, ..GenesisAccount::default() })
        });
        Self {
            chain_id: DEVNET_CHAIN_ID,
            timestamp: None,
            gas_limit: DEVNET_GAS_LIMIT,
            base_fee_per_gas: DEVNET_BASE_FEE,
            eip1559_denominator: DEVNET_EIP1559_DENOMINATOR,
            eip1559_elasticity: DEVNET_EIP1559_ELASTICITY,
            l1_fees: L1FeeScalars::default(),
            batcher: dev_accounts()[9],
            alloc: predeploys::devnet().into_iter().chain(system).chain(funded).collect(),
        }
    }

    /// Adds accounts. One that is there already is replaced, but keeps its balance if the new entry
    /// has none.
    pub fn extend_alloc(&mut self, alloc: BTreeMap<Address, GenesisAccount>) {
        for (address, mut account) in alloc {
            let entry = self.alloc.entry(address).or_default();
            if account.balance.is_zero() {
                account.balance = entry.balance;
            }
            *entry = account;
        }
    }

    /// Reads an allocation in geth's JSON shape: address → {balance, nonce, code, storage}.
    ///
    /// Errors: [`Error::InvalidGenesis`] with the place in the text.
    pub fn alloc_from_json(json: &str) -> Result<BTreeMap<Address, GenesisAccount>, Error> {
        serde_json::from_str(json)
            .map_err(|error| Error::InvalidGenesis(format!("allocation: {error}")))
    }

    /// Errors: [`Error::InvalidGenesis`] if no chain could follow from these values.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let fault = if self.chain_id == 0 {
            "the chain id is zero"
        } else if self.gas_limit < GAS_LIMIT_MIN {
            "the gas limit is below 5,000,000"
        } else if self.base_fee_per_gas == 0 {
            "the base fee is zero, and could never rise again"
        } else if self.eip1559_denominator == 0 || self.eip1559_elasticity == 0 {
            "the EIP-1559 denominator and elasticity must not be zero"
        } else {
            return Ok(());
        };
        Err(Error::InvalidGenesis(fault.to_owned()))
    }

    /// The state of block 0, which is to remember as much of the past as `limits` say.
    pub(crate) fn world(&self, limits: HistoryLimits) -> Arc<World> {
        Self::world_of(&self.alloc, limits)
    }

    /// The state of a block 0 with these accounts.
    pub(crate) fn world_of(
        alloc: &BTreeMap<Address, GenesisAccount>,
        limits: HistoryLimits,
    ) -> Arc<World> {
        let restore = Restore::new(0, limits);
        let accounts = alloc.iter().map(|(address, account)| PlainAccount {
            address: *address,
            nonce: account.nonce,
            balance: account.balance,
            code_hash: restore.code(&account.code),
        });
        restore.accounts(&accounts.collect::<Vec<_>>());
        let with_storage = alloc.iter().filter(|(_, account)| !account.storage.is_empty());
        restore.storage(with_storage.map(|(address, account)| {
            let set = account.storage.iter().filter(|(_, value)| !value.is_zero());
            let set =
                set.map(|(slot, value)| SlotDiff { slot: (*slot).into(), value: (*value).into() });
            (*address, set.collect())
        }));
        restore.finish().0
    }

    /// Hash of block 0 at `timestamp`.
    pub(crate) fn hash(&self, timestamp: u64) -> B256 {
        self.header(timestamp).hash_slow()
    }

    /// Header of block 0 at `timestamp`.
    fn header(&self, timestamp: u64) -> Header {
        let world = self.world(HistoryLimits { blocks: 0, bytes: 0 });
        self.block(&world.latest(), timestamp).0
    }

    /// The time of block 0.
    ///
    /// Errors: [`Error::InvalidGenesis`] if no chain could follow, or the time is still open.
    fn settled_time(&self) -> Result<u64, Error> {
        self.check()?;
        self.timestamp.ok_or_else(|| {
            Error::InvalidGenesis(
                "the time of block 0 is open until the first start: give one, or take the genesis \
                 of a data directory"
                    .to_owned(),
            )
        })
    }

    /// Block 0, with the given state and time.
    pub(crate) fn block(
        &self,
        state: &StateView,
        timestamp: u64,
    ) -> (Header, BlockBody<OpTxEnvelope>) {
        let header = Header {
            parent_hash: B256::ZERO,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: FEE_VAULT,
            state_root: state.root(),
            transactions_root: calculate_transaction_root::<OpTxEnvelope>(&[]),
            receipts_root: EMPTY_ROOT_HASH,
            withdrawals_root: Some(state.storage_root(MESSAGE_PASSER)),
            gas_limit: self.gas_limit,
            timestamp,
            extra_data: self.extra_data(),
            base_fee_per_gas: Some(self.base_fee_per_gas),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(B256::ZERO),
            requests_hash: Some(EMPTY_REQUESTS_HASH),
            ..Header::default()
        };
        let withdrawals = Some(alloy_eips::eip4895::Withdrawals::default());
        (header, BlockBody { transactions: Vec::new(), ommers: Vec::new(), withdrawals })
    }

    /// Holocene's header field: version 0, denominator, elasticity.
    pub(crate) fn extra_data(&self) -> Bytes {
        let mut bytes = [0u8; 9];
        bytes[1..5].copy_from_slice(&self.eip1559_denominator.to_be_bytes());
        bytes[5..].copy_from_slice(&self.eip1559_elasticity.to_be_bytes());
        Bytes::copy_from_slice(&bytes)
    }
}

/// The first ten accounts of the mnemonic that every Ethereum development tool uses
/// ("test test test test test test test test test test test junk"). Everybody has their keys, so a
/// public network must not fund them.
pub const fn dev_accounts() -> [Address; 10] {
    [
        address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
        address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
        address!("0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"),
        address!("0x90F79bf6EB2c4f870365E785982E1f101E93b906"),
        address!("0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"),
        address!("0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc"),
        address!("0x976EA74026E726554dB657fA54763abd0C3a0aa9"),
        address!("0x14dC79964da2C08b23698B3D3cc7Ca32193d9955"),
        address!("0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f"),
        address!("0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_is_read_in_geths_shape() {
        let alloc = Genesis::alloc_from_json(
            r#"{
                "0x4200000000000000000000000000000000000006": {
                    "balance": "0x10", "nonce": "0x1", "code": "0x6000",
                    "storage": { "0x0000000000000000000000000000000000000000000000000000000000000001":
                                 "0x0000000000000000000000000000000000000000000000000000000000000002" }
                },
                "f39Fd6e51aad88F6F4ce6aB8827279cffFb92266": { "nonce": "0x5" }
            }"#,
        )
        .unwrap();
        let mut genesis = Genesis::devnet();
        genesis.extend_alloc(alloc);
        let weth = &genesis.alloc[&address!("0x4200000000000000000000000000000000000006")];
        assert_eq!((weth.balance, weth.nonce), (U256::from(16), 1));
        assert_eq!(weth.storage.len(), 1);
        let funded = &genesis.alloc[&dev_accounts()[0]];
        assert_eq!((funded.balance, funded.nonce), (DEV_BALANCE, 5), "the balance is kept");
        let json = serde_json::to_string(&genesis).unwrap();
        assert_eq!(serde_json::from_str::<Genesis>(&json).unwrap(), genesis);

        for bad in [
            "[]",
            r#"{"0x12": {}}"#,
            r#"{"0x4200000000000000000000000000000000000006": {"gas": 1}}"#,
        ] {
            assert!(
                matches!(Genesis::alloc_from_json(bad), Err(Error::InvalidGenesis(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_genesis_that_could_not_go_on_is_refused() {
        let devnet = Genesis::devnet;
        devnet().check().unwrap();
        for bad in [
            Genesis { chain_id: 0, ..devnet() },
            Genesis { gas_limit: 1_000_000, ..devnet() },
            Genesis { base_fee_per_gas: 0, ..devnet() },
            Genesis { eip1559_denominator: 0, ..devnet() },
            Genesis { eip1559_elasticity: 0, ..devnet() },
        ] {
            assert!(matches!(bad.check(), Err(Error::InvalidGenesis(_))));
        }
    }
}
