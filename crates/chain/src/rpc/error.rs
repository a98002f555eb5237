//! Errors in the numbers and words that Ethereum tools know.

use alloy_primitives::{Bytes, hex};
use alloy_sol_types::{Panic, Revert, SolError};
use jsonrpsee::types::ErrorObjectOwned;

use crate::execution::{CallOutcome, Exceeded};

/// What a method returns.
pub(super) type RpcResult<T> = Result<T, ErrorObjectOwned>;

const INVALID_PARAMS: i32 = -32602;
const SERVER_ERROR: i32 = -32000;
const RESOURCE_UNAVAILABLE: i32 = -32002;
const LIMIT_EXCEEDED: i32 = -32005;
const INTERNAL: i32 = -32603;
/// geth's code for a call that reverted; the revert data goes along.
const EXECUTION_REVERTED: i32 = 3;
/// EIP-7966: the transaction was taken but is not in a block in time; its hash goes along.
const NOT_INCLUDED_IN_TIME: i32 = 4;

pub(super) fn error(code: i32, message: impl Into<String>) -> ErrorObjectOwned {
    ErrorObjectOwned::owned(code, message, None::<()>)
}

pub(super) fn invalid(message: impl Into<String>) -> ErrorObjectOwned {
    error(INVALID_PARAMS, message)
}

pub(super) fn refused(message: impl ToString) -> ErrorObjectOwned {
    error(SERVER_ERROR, message.to_string())
}

pub(super) fn limit(message: impl Into<String>) -> ErrorObjectOwned {
    error(LIMIT_EXCEEDED, message)
}

pub(super) fn unavailable(message: impl Into<String>) -> ErrorObjectOwned {
    error(RESOURCE_UNAVAILABLE, message)
}

pub(super) fn internal(message: impl ToString) -> ErrorObjectOwned {
    error(INTERNAL, message.to_string())
}

pub(super) fn not_included_in_time(hash: alloy_primitives::B256) -> ErrorObjectOwned {
    let message = "the transaction was accepted but is not in a block yet";
    ErrorObjectOwned::owned(NOT_INCLUDED_IN_TIME, message, Some(hash))
}

/// The return data of a call, or the error that says why there is none.
pub(super) fn output(outcome: CallOutcome) -> RpcResult<Bytes> {
    match outcome {
        CallOutcome::Success { output, .. } => Ok(output),
        CallOutcome::Revert { output, .. } => Err(reverted(&output)),
        CallOutcome::Halt { reason, .. } | CallOutcome::Invalid { reason } => Err(refused(reason)),
        CallOutcome::Exceeded(exceeded) => Err(stopped(exceeded)),
    }
}

/// The node ended an execution: geth's words for the time, ours for the size.
pub(super) fn stopped(exceeded: Exceeded) -> ErrorObjectOwned {
    match exceeded {
        Exceeded::Time(allowed) => refused(aborted(allowed)),
        Exceeded::Bytes(max) => limit(format!(
            "the answer would be larger than {max} bytes: ask for less (a tracer that records \
             calls, fewer blocks)"
        )),
    }
}

/// "execution aborted", as geth says it.
pub(super) fn aborted(allowed: std::time::Duration) -> String {
    format!("execution aborted (timeout = {allowed:?})")
}

/// "execution reverted", with the reason where the contract gave one, and the data.
pub(super) fn reverted(data: &Bytes) -> ErrorObjectOwned {
    let message = revert_message(data);
    let data = hex::encode_prefixed(data);
    ErrorObjectOwned::owned(EXECUTION_REVERTED, message, Some(data))
}

/// "execution reverted", with the reason where the contract gave one.
pub(super) fn revert_message(data: &Bytes) -> String {
    let reason = if let Ok(revert) = Revert::abi_decode(data) {
        format!(": {}", revert.reason)
    } else if let Ok(panic) = Panic::abi_decode(data) {
        format!(": {panic}")
    } else {
        String::new()
    };
    format!("execution reverted{reason}")
}
