//! Logs of a simulated transaction, with transfers of OPEN among them as if it were a token.

use alloy_primitives::{Address, B256, Bytes, Log, U256, address, b256};
use revm::{
    Inspector,
    context_interface::ContextTr,
    inspector::JournalExt,
    interpreter::{CallInputs, CallOutcome, CreateInputs, CreateOutcome, InstructionResult},
};

/// Where the logs of transfers seem to come from (execution-apis, eth_simulateV1).
const EMITTER: Address = address!("0xeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee");
/// `Transfer(address,address,uint256)`.
const TRANSFER: B256 = b256!("0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

/// Collects the logs of one transaction; those of a call that fails are gone with it.
#[derive(Debug, Default)]
pub(crate) struct TransferLogs {
    /// Whether transfers of OPEN are logged too.
    transfers: bool,
    /// The calls that have not ended, the innermost last.
    open: Vec<Vec<Log>>,
    finished: Vec<Log>,
}

impl TransferLogs {
    /// Logs what contracts log, and transfers of OPEN if `transfers`.
    pub(crate) fn new(transfers: bool) -> Self {
        Self { transfers, ..Self::default() }
    }

    /// The logs since the last time they were taken.
    pub(crate) fn take(&mut self) -> Vec<Log> {
        self.open.clear();
        std::mem::take(&mut self.finished)
    }

    fn begin(&mut self) {
        self.open.push(Vec::new());
    }

    fn transfer(&mut self, from: Address, to: Address, value: U256) {
        if !self.transfers || value.is_zero() {
            return;
        }
        let topics = vec![TRANSFER, from.into_word(), to.into_word()];
        let data = Bytes::from(value.to_be_bytes::<32>());
        self.log(Log::new_unchecked(EMITTER, topics, data));
    }

    fn log(&mut self, log: Log) {
        self.open.last_mut().unwrap_or(&mut self.finished).push(log);
    }

    fn end(&mut self, result: InstructionResult) {
        let Some(logs) = self.open.pop() else { return };
        if result.is_ok() {
            self.open.last_mut().unwrap_or(&mut self.finished).extend(logs);
        }
    }
}

impl<CTX: ContextTr<Journal: JournalExt>> Inspector<CTX> for TransferLogs {
    fn log(&mut self, _: &mut CTX, log: Log) {
        Self::log(self, log);
    }

    fn call(&mut self, _: &mut CTX, inputs: &mut CallInputs) -> Option<CallOutcome> {
        self.begin();
        if let Some(value) = inputs.transfer_value() {
            self.transfer(inputs.transfer_from(), inputs.transfer_to(), value);
        }
        None
    }

    fn call_end(&mut self, _: &mut CTX, _: &CallInputs, outcome: &mut CallOutcome) {
        self.end(outcome.result.result);
    }

    fn create(&mut self, context: &mut CTX, inputs: &mut CreateInputs) -> Option<CreateOutcome> {
        self.begin();
        let accounts = context.journal_ref().evm_state();
        if let Some(creator) = accounts.get(&inputs.caller()) {
            let created = inputs.created_address(creator.info.nonce);
            self.transfer(inputs.caller(), created, inputs.value());
        }
        None
    }

    fn create_end(&mut self, _: &mut CTX, _: &CreateInputs, outcome: &mut CreateOutcome) {
        self.end(outcome.result.result);
    }

    fn selfdestruct(&mut self, contract: Address, target: Address, value: U256) {
        self.transfer(contract, target, value);
    }
}
