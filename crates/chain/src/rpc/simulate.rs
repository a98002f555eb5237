//! `eth_simulateV1`: blocks that might follow, and what each call in them would do.
//!
//! Source: execution-apis, `eth_simulateV1` and its notes. A simulated block has no L1 attributes
//! deposit, and its calls pay no L1 fee; otherwise it is made as a block of this chain.

use std::cmp::Ordering;

use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Eip658Value, Header, Receipt, TxReceipt};
use alloy_consensus::{
    proofs::{calculate_receipt_root, calculate_transaction_root},
    transaction::Recovered,
};
use alloy_eips::{BlockId, eip7685::EMPTY_REQUESTS_HASH};
use alloy_evm::EvmEnv;
use alloy_primitives::{B256, Bloom, TxKind, U256};
use alloy_rpc_types_eth::{
    Log, TransactionRequest,
    simulate::{SimBlock, SimCallResult, SimulateError, SimulatePayload, SimulatedBlock},
};
use jsonrpsee::{RpcModule, core::RegisterMethodError, types::ErrorObjectOwned};
use op_alloy_consensus::{OpReceipt, OpTxEnvelope, OpTxType};
use op_revm::OpSpecId;
use revm::{
    Database, context::result::ExecutionResult, context::result::InvalidTransaction,
    context_interface::block::BlobExcessGasAndPrice, database::CacheDB,
    database_interface::DatabaseCommit,
};
use serde_json::value::RawValue;

use super::{
    context::Context,
    convert::{self, Detail, RpcBlock},
    error::{RpcResult, aborted, error, internal, invalid, revert_message, stopped},
    limits::{SIMULATED_BLOCKS_MAX, SIMULATED_CALLS_MAX, TRACE_BYTES_MAX},
    object::Object,
    output, overrides,
    request::environment,
};
use crate::{
    execution::{
        Exceeded, Guard, MESSAGE_PASSER, PrecompileChanges, Recorded, Refusal, Scratch,
        SealedBlock, TransferLogs, View, begin_block, halt_reason, precompiles, transact,
        unenveloped,
    },
    state::{StateView, changes},
};

/// execution-apis' codes for what can be wrong with a simulation.
mod code {
    pub(super) const REVERTED: i32 = 3;
    pub(super) const INTERNAL: i32 = -32603;
    pub(super) const VM_ERROR: i32 = -32015;
    pub(super) const TIMEOUT: i32 = -32016;
    pub(super) const NONCE_TOO_LOW: i32 = -38010;
    pub(super) const NONCE_TOO_HIGH: i32 = -38011;
    pub(super) const BASE_FEE_TOO_LOW: i32 = -38012;
    pub(super) const INTRINSIC_GAS: i32 = -38013;
    pub(super) const INSUFFICIENT_FUNDS: i32 = -38014;
    pub(super) const BLOCK_GAS_LIMIT: i32 = -38015;
    pub(super) const BLOCK_NUMBER: i32 = -38020;
    pub(super) const BLOCK_TIMESTAMP: i32 = -38021;
    pub(super) const SENDER_NOT_EOA: i32 = -38024;
    pub(super) const INITCODE_SIZE: i32 = -38025;
    pub(super) const CLIENT_LIMIT: i32 = -38026;
}

pub(super) fn register(module: &mut RpcModule<Context>) -> Result<(), RegisterMethodError> {
    module.register_blocking_method("eth_simulateV1", |params, context, _| {
        let mut params = params.sequence();
        let Object(payload): Object<SimulatePayload> = params.next()?;
        simulate(&context, payload, params.optional_next()?)
    })?;
    Ok(())
}

fn simulate(
    context: &Context,
    payload: SimulatePayload,
    id: Option<BlockId>,
) -> RpcResult<Box<RawValue>> {
    let _permit = context.trace_permit()?;
    if payload.block_state_calls.is_empty() {
        return Err(invalid("empty input"));
    }
    let calls: usize = payload.block_state_calls.iter().map(|block| block.calls.len()).sum();
    if payload.block_state_calls.len() > SIMULATED_BLOCKS_MAX {
        return Err(error(code::CLIENT_LIMIT, "too many blocks"));
    }
    if calls > SIMULATED_CALLS_MAX {
        let message = format!("too many calls: {calls}, the limit is {SIMULATED_CALLS_MAX}");
        return Err(error(code::CLIENT_LIMIT, message));
    }
    let (base, state) = context.sealed_at(id)?;
    let block_time_s = context.chain.rules.block_time_s;
    let blocks = in_order(&base.header, block_time_s, payload.block_state_calls)?;
    let recorded = Recorded { calls: true, ..Recorded::default() };
    let inspector = TransferLogs::new(payload.trace_transfers);
    let mut run = Run {
        context,
        validation: payload.validation,
        detail: if payload.return_full_transactions { Detail::Full } else { Detail::Hashes },
        base: state.clone(),
        db: CacheDB::new(View::Sealed(state)),
        guard: Guard::recording(inspector, context.deadline(), recorded, TRACE_BYTES_MAX),
        gas_left: context.settings.call_gas_max,
        parent: base.header.clone(),
        parent_hash: base.hash,
    };
    let simulated: Vec<_> =
        blocks.into_iter().map(|block| run.block(block)).collect::<RpcResult<_>>()?;
    output::json(&simulated)
}

/// A block to simulate, with its place in the chain.
struct Numbered {
    number: u64,
    timestamp: u64,
    block: SimBlock,
}

/// Gives every block a number and a time after its parent's, and fills gaps with empty blocks.
fn in_order(base: &Header, block_time_s: u64, blocks: Vec<SimBlock>) -> RpcResult<Vec<Numbered>> {
    let mut ordered: Vec<Numbered> = Vec::with_capacity(blocks.len());
    let (mut last_number, mut last_time) = (base.number, base.timestamp);
    let too_large = || invalid("block number or time is too large");
    for block in blocks {
        let wanted = block.block_overrides.as_ref();
        let next = last_number.checked_add(1).ok_or_else(too_large)?;
        let number = match wanted.and_then(|overrides| overrides.number) {
            Some(number) => u64::try_from(number).map_err(|_| too_large())?,
            None => next,
        };
        if number <= last_number {
            let message = format!("block numbers must be in order: {number} <= {last_number}");
            return Err(error(code::BLOCK_NUMBER, message));
        }
        if number - base.number > SIMULATED_BLOCKS_MAX as u64 {
            return Err(error(code::CLIENT_LIMIT, "too many blocks"));
        }
        for number in next..number {
            last_time = last_time.checked_add(block_time_s).ok_or_else(too_large)?;
            let block = SimBlock::default();
            ordered.push(Numbered { number, timestamp: last_time, block });
        }
        let timestamp = match wanted.and_then(|overrides| overrides.time) {
            Some(time) => time,
            None => last_time.checked_add(block_time_s).ok_or_else(too_large)?,
        };
        if timestamp <= last_time {
            let message = format!("block timestamps must be in order: {timestamp} <= {last_time}");
            return Err(error(code::BLOCK_TIMESTAMP, message));
        }
        (last_number, last_time) = (number, timestamp);
        ordered.push(Numbered { number, timestamp, block });
    }
    Ok(ordered)
}

/// A simulation in progress.
struct Run<'a> {
    context: &'a Context,
    validation: bool,
    detail: Detail,
    /// The state under all of it.
    base: StateView,
    db: Scratch,
    guard: Guard<TransferLogs>,
    gas_left: u64,
    parent: Header,
    parent_hash: B256,
}

/// What the calls of a block came to.
#[derive(Default)]
struct Calls {
    gas_used: u64,
    txs: Vec<Recovered<OpTxEnvelope>>,
    receipts: Vec<OpReceipt>,
    results: Vec<SimCallResult>,
    logs: u64,
}

impl Run<'_> {
    fn block(&mut self, wanted: Numbered) -> RpcResult<SimulatedBlock<RpcBlock>> {
        let rules = &self.context.chain.rules;
        let SimBlock { block_overrides, state_overrides, calls } = wanted.block;
        let block_overrides = block_overrides.unwrap_or_default();
        let base_fee = match block_overrides.base_fee {
            Some(fee) => u64::try_from(fee)
                .map_err(|_| invalid("block override \"baseFeePerGas\" does not fit in 64 bits"))?,
            None if self.validation => rules.next_base_fee(&self.parent),
            None => 0,
        };
        let mut header = Header {
            parent_hash: self.parent_hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: block_overrides.coinbase.unwrap_or(self.parent.beneficiary),
            number: wanted.number,
            gas_limit: block_overrides.gas_limit.unwrap_or(self.parent.gas_limit),
            timestamp: wanted.timestamp,
            extra_data: rules.extra_data.clone(),
            mix_hash: block_overrides.random.unwrap_or_default(),
            difficulty: block_overrides.difficulty.unwrap_or_default(),
            base_fee_per_gas: Some(base_fee),
            blob_gas_used: Some(0),
            excess_blob_gas: Some(0),
            parent_beacon_block_root: Some(block_overrides.beacon_root.unwrap_or_default()),
            requests_hash: Some(EMPTY_REQUESTS_HASH),
            ..Header::default()
        };
        let mut env = rules.evm_env(&header);
        // That the sender is no contract is never checked here, as in geth.
        env.cfg_env.disable_eip3607 = true;
        env.cfg_env.disable_block_gas_limit = true;
        env.cfg_env.disable_nonce_check = !self.validation;
        env.cfg_env.disable_base_fee = !self.validation;
        if let Some(price) = block_overrides.blob_base_fee {
            let blob_gasprice = u128::try_from(price)
                .map_err(|_| invalid("block override \"blobBaseFee\" does not fit in 128 bits"))?;
            env.block_env.blob_excess_gas_and_price =
                Some(BlobExcessGasAndPrice { excess_blob_gas: 0, blob_gasprice });
        }
        self.db.cache.block_hashes.insert(U256::from(self.parent.number), self.parent_hash);
        let hashes = block_overrides.block_hash.into_iter().flatten();
        self.db.cache.block_hashes.extend(hashes.map(|(number, hash)| (U256::from(number), hash)));
        let mut changes = PrecompileChanges::default();
        if let Some(state) = state_overrides {
            let builtin = precompiles(&env);
            changes = overrides::apply_state(&mut self.db, state, |address| {
                builtin.get(address).is_some()
            })?;
        }
        begin_block(rules, &env, &mut self.db, &header).map_err(internal)?;

        let mut done = Calls::default();
        for call in calls {
            self.call(&header, &env, &changes, call, &mut done)?;
        }
        self.seal(&mut header, &done);
        let Calls { txs, receipts, mut results, .. } = done;
        let block = SealedBlock::new(header, txs, receipts);
        for log in results.iter_mut().flat_map(|result| &mut result.logs) {
            log.block_hash = Some(block.hash);
        }
        self.parent_hash = block.hash;
        self.parent.clone_from(&block.header);
        Ok(SimulatedBlock { inner: convert::block(&block, self.detail), calls: results })
    }

    /// Fills in what the calls decide.
    fn seal(&self, header: &mut Header, done: &Calls) {
        let (state_root, withdrawals_root) =
            self.base.roots_with(&changes(&self.db), MESSAGE_PASSER);
        let with_bloom = |receipt: &OpReceipt| receipt.clone().into_with_bloom();
        let receipts: Vec<_> = done.receipts.iter().map(with_bloom).collect();
        let envelopes: Vec<_> = done.txs.iter().map(Recovered::inner).collect();
        header.gas_used = done.gas_used;
        header.state_root = state_root;
        header.withdrawals_root = Some(withdrawals_root);
        header.transactions_root = calculate_transaction_root(&envelopes);
        header.receipts_root = calculate_receipt_root(&receipts);
        header.logs_bloom =
            receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | receipt.logs_bloom);
    }

    fn call(
        &mut self,
        header: &Header,
        env: &EvmEnv<OpSpecId>,
        changes: &PrecompileChanges,
        mut call: TransactionRequest,
        done: &mut Calls,
    ) -> RpcResult<()> {
        let chain_id = self.context.chain.rules.chain_id;
        let from = *call.from.get_or_insert_default();
        let Ok(account) = self.db.basic(from);
        let nonce = account.unwrap_or_default().nonce;
        call.nonce.get_or_insert(nonce);
        let room = header.gas_limit - done.gas_used;
        let wanted = call.gas.unwrap_or(room);
        if wanted > room {
            let (used, limit) = (done.gas_used, header.gas_limit);
            let message = format!("block gas limit reached: {used} + {wanted} > {limit}");
            return Err(error(code::BLOCK_GAS_LIMIT, message));
        }
        if self.gas_left == 0 {
            let max = self.context.settings.call_gas_max;
            let message = format!("the calls together use more gas than the limit of {max}");
            return Err(error(code::CLIENT_LIMIT, message));
        }
        let gas = wanted.min(self.gas_left);
        let mut tx = environment(&call, chain_id, gas)?;
        if self.validation {
            check_nonce(tx.nonce, nonce).map_err(|error| refused(Refusal::Invalid(error), gas))?;
        } else if tx.nonce == u64::MAX {
            // EIP-2681 forbids the last nonce. Where nonces are not checked it may be used, and what
            // comes after it is zero, as in geth.
            tx.nonce = 0;
        }
        let nonce_wraps = nonce == u64::MAX && tx.kind.is_call();
        call.gas = Some(gas);
        let envelope = envelope(call, chain_id)?;

        let executed = transact(&mut self.db, env, changes, unenveloped(tx), &mut self.guard);
        let logs = self.guard.inner.take();
        let mut outcome = executed.map_err(|refusal| refused(refusal, gas))?;
        if nonce_wraps && let Some(sender) = outcome.state.get_mut(&from) {
            sender.info.nonce = 0;
        }
        self.db.commit(outcome.state);
        let result_gas = *outcome.result.gas();
        let gas_used = result_gas.tx_gas_used();
        self.gas_left = self.gas_left.saturating_sub(gas_used);
        done.gas_used += gas_used;

        let index = done.txs.len() as u64;
        let mut result = SimCallResult {
            gas_used,
            max_used_gas: Some(result_gas.total_gas_spent().max(gas_used)),
            ..SimCallResult::default()
        };
        let mut receipt = Receipt {
            status: Eip658Value::Eip658(outcome.result.is_success()),
            cumulative_gas_used: done.gas_used,
            logs: Vec::new(),
        };
        match outcome.result {
            ExecutionResult::Success { output, logs: emitted, .. } => {
                result.status = true;
                result.return_data = output.into_data();
                receipt.logs = emitted;
                result.logs = rpc_logs(header, envelope.tx_hash(), index, logs, &mut done.logs);
            }
            ExecutionResult::Revert { output, .. } => {
                // The data is in the error only, as in geth.
                let message = revert_message(&output);
                result.error =
                    Some(SimulateError { code: code::REVERTED, message, data: Some(output) });
            }
            ExecutionResult::Halt { reason, .. } => {
                let message = halt_reason(&reason);
                result.error = Some(SimulateError { code: code::VM_ERROR, message, data: None });
            }
        }
        done.receipts.push(of_type(envelope.tx_type(), receipt));
        done.txs.push(Recovered::new_unchecked(envelope, from));
        done.results.push(result);
        Ok(())
    }
}

/// Checks the nonce before anything else, as geth does: the EVM would look at the fee first.
fn check_nonce(given: u64, account: u64) -> Result<(), InvalidTransaction> {
    match given.cmp(&account) {
        Ordering::Less => Err(InvalidTransaction::NonceTooLow { tx: given, state: account }),
        Ordering::Greater => Err(InvalidTransaction::NonceTooHigh { tx: given, state: account }),
        Ordering::Equal if given == u64::MAX => Err(InvalidTransaction::NonceOverflowInTransaction),
        Ordering::Equal => Ok(()),
    }
}

/// The transaction that `call` would be, with an empty signature.
fn envelope(mut call: TransactionRequest, chain_id: u64) -> RpcResult<OpTxEnvelope> {
    call.chain_id = Some(chain_id);
    call.to.get_or_insert(TxKind::Create);
    call.transaction_type = None;
    if call.gas_price.is_none() {
        call.max_fee_per_gas.get_or_insert_default();
        call.max_priority_fee_per_gas.get_or_insert_default();
    }
    let tx = call.build_typed_simulate_transaction().map_err(|error| invalid(error.to_string()))?;
    OpTxEnvelope::try_from(tx).map_err(|_| invalid("blob transactions have no place on a rollup"))
}

fn of_type(kind: OpTxType, receipt: Receipt) -> OpReceipt {
    match kind {
        OpTxType::Legacy => OpReceipt::Legacy(receipt),
        OpTxType::Eip2930 => OpReceipt::Eip2930(receipt),
        OpTxType::Eip7702 => OpReceipt::Eip7702(receipt),
        // A call is never a deposit.
        OpTxType::Eip1559 | OpTxType::Deposit | OpTxType::PostExec => OpReceipt::Eip1559(receipt),
    }
}

/// Logs of call `index`, whose block has no hash yet.
fn rpc_logs(
    header: &Header,
    transaction_hash: B256,
    index: u64,
    logs: Vec<alloy_primitives::Log>,
    logs_before: &mut u64,
) -> Vec<Log> {
    let rpc_log = |inner| {
        let log_index = *logs_before;
        *logs_before += 1;
        Log {
            inner,
            block_hash: None,
            block_number: Some(header.number),
            block_timestamp: Some(header.timestamp),
            transaction_hash: Some(transaction_hash),
            transaction_index: Some(index),
            log_index: Some(log_index),
            removed: false,
        }
    };
    logs.into_iter().map(rpc_log).collect()
}

/// Why a call could not begin, which ends the simulation.
fn refused(refusal: Refusal, gas: u64) -> ErrorObjectOwned {
    let invalid_tx = match refusal {
        Refusal::Exceeded(Exceeded::Time(allowed)) => {
            return error(code::TIMEOUT, aborted(allowed));
        }
        Refusal::Exceeded(exceeded) => return stopped(exceeded),
        Refusal::Other(reason) => return error(code::INTERNAL, reason),
        Refusal::Invalid(error) => error,
    };
    let code = match &invalid_tx {
        InvalidTransaction::NonceTooLow { .. } => code::NONCE_TOO_LOW,
        InvalidTransaction::NonceTooHigh { .. } => code::NONCE_TOO_HIGH,
        InvalidTransaction::GasPriceLessThanBasefee => code::BASE_FEE_TOO_LOW,
        InvalidTransaction::CallGasCostMoreThanGasLimit { .. }
        | InvalidTransaction::GasFloorMoreThanGasLimit { .. } => code::INTRINSIC_GAS,
        InvalidTransaction::LackOfFundForMaxFee { .. }
        | InvalidTransaction::OverflowPaymentInTransaction => code::INSUFFICIENT_FUNDS,
        InvalidTransaction::CallerGasLimitMoreThanBlock => code::BLOCK_GAS_LIMIT,
        InvalidTransaction::RejectCallerWithCode => code::SENDER_NOT_EOA,
        InvalidTransaction::CreateInitCodeSizeLimit => code::INITCODE_SIZE,
        InvalidTransaction::PriorityFeeGreaterThanMaxFee => {
            return invalid(invalid_tx.to_string());
        }
        _ => code::INTERNAL,
    };
    error(code, format!("err: {invalid_tx} (supplied gas {gas})"))
}
