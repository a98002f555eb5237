//! An EVM without blocks or fees, to run constructors and initialisers where we want them.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, TxKind, U64, U256};
use eyre::{Result, bail, eyre};
use revm::{
    Context, ExecuteCommitEvm, MainBuilder, MainContext,
    bytecode::Bytecode,
    context::{TxEnv, result::ExecutionResult},
    database::{CacheDB, EmptyDB},
    primitives::hardfork::SpecId,
};

use crate::alloc::Account;

/// Enough for any constructor.
const GAS: u64 = 100_000_000;
/// Largest runtime code of a deployment (EIP-170), which holds for a genesis as well.
const RUNTIME_BYTES_MAX: usize = 24_576;

/// The state, and an EVM over it.
pub(crate) struct Machine {
    db: CacheDB<EmptyDB>,
    chain_id: u64,
}

impl Machine {
    pub(crate) fn new(chain_id: u64) -> Self {
        Self { db: CacheDB::new(EmptyDB::new()), chain_id }
    }

    /// Runs creation code (arguments appended) at `address` and leaves there what it returns.
    /// Immutables and storage are those of a deployment to this address.
    pub(crate) fn construct(&mut self, address: Address, creation: Bytes) -> Result<()> {
        self.put_code(address, creation);
        let runtime = self
            .call(Address::ZERO, address, Bytes::new())
            .map_err(|error| eyre!("the constructor at {address}: {error}"))?;
        if runtime.is_empty() || runtime.len() > RUNTIME_BYTES_MAX {
            bail!("the constructor at {address} returned {} bytes of code", runtime.len());
        }
        self.put_code(address, runtime);
        Ok(())
    }

    /// A transaction from anybody, at no cost. Returns what the callee returned.
    pub(crate) fn call(&mut self, from: Address, to: Address, data: Bytes) -> Result<Bytes> {
        let mut evm = Context::mainnet()
            .with_db(&mut self.db)
            .modify_cfg_chained(|cfg| {
                cfg.set_spec_and_mainnet_gas_params(SpecId::PRAGUE);
                cfg.chain_id = self.chain_id;
                cfg.disable_nonce_check = true;
                cfg.limit_contract_initcode_size = Some(usize::MAX);
            })
            .modify_block_chained(|block| block.gas_limit = GAS)
            .build_mainnet();
        let tx = TxEnv::builder()
            .caller(from)
            .kind(TxKind::Call(to))
            .data(data)
            .gas_limit(GAS)
            .chain_id(Some(self.chain_id))
            .build()
            .map_err(|error| eyre!("{error:?}"))?;
        match evm.transact_commit(tx)? {
            ExecutionResult::Success { output, .. } => Ok(output.into_data()),
            ExecutionResult::Revert { output, .. } => bail!("{to} reverted with {output}"),
            ExecutionResult::Halt { reason, .. } => bail!("{to} halted: {reason:?}"),
        }
    }

    /// Sets a word of storage for which there is no call.
    pub(crate) fn store(&mut self, address: Address, slot: U256, value: U256) -> Result<()> {
        Ok(self.db.insert_account_storage(address, slot, value)?)
    }

    /// What is at `address`, as a genesis has it.
    pub(crate) fn contract(&mut self, address: Address) -> Account {
        let Ok(entry) = self.db.load_account(address);
        let nonzero = entry.storage.iter().filter(|(_, value)| !value.is_zero());
        let storage: BTreeMap<B256, B256> =
            nonzero.map(|(slot, value)| (B256::from(*slot), B256::from(*value))).collect();
        let code = entry.info.code.as_ref().map(Bytecode::original_bytes).unwrap_or_default();
        Account { nonce: U64::ONE, code, storage, balance: U256::ZERO }
    }

    fn put_code(&mut self, address: Address, code: Bytes) {
        let Ok(entry) = self.db.load_account(address);
        let mut info = entry.info.clone();
        info.set_code(Bytecode::new_legacy(code));
        // The nonce that EIP-161 gives a contract.
        info.nonce = 1;
        self.db.insert_account_info(address, info);
    }
}
