//! The tracers that a caller may choose, and what each records.

use std::time::Duration;

use alloy_rpc_types_trace::geth::{
    GethDebugBuiltInTracerType as BuiltIn, GethDebugTracerType, GethDebugTracingOptions,
};
use revm_inspectors::tracing::{DebugInspector, DebugInspectorError};

use super::{
    context::Context,
    error::{RpcResult, invalid},
    limits::TRACE_BYTES_MAX,
};
use crate::execution::{Deadline, Guard, Recorded};

/// A tracer under the limits of the node.
pub(super) struct Tracer {
    pub(super) guard: Guard<DebugInspector>,
    /// Whether the prestate shows accounts that were empty (`includeEmpty`).
    pub(super) keeps_empty: bool,
}

/// The tracer that `options` name, under the limits of the node.
///
/// Errors: -32602 if there is no such tracer or its configuration is wrong.
pub(super) fn chosen(context: &Context, options: GethDebugTracingOptions) -> RpcResult<Tracer> {
    let deadline = deadline(context, options.timeout.as_deref())?;
    let recorded = recorded(&options)?;
    let keeps_empty = options.tracer_config.0["includeEmpty"] == true;
    let inspector = DebugInspector::new(options).map_err(refused)?;
    let guard = Guard::recording(inspector, deadline, recorded, TRACE_BYTES_MAX);
    Ok(Tracer { guard, keeps_empty })
}

fn refused(error: DebugInspectorError) -> jsonrpsee::types::ErrorObjectOwned {
    invalid(error.to_string())
}

fn recorded(options: &GethDebugTracingOptions) -> RpcResult<Recorded> {
    let Some(tracer) = &options.tracer else {
        let config = &options.config;
        return Ok(Recorded {
            steps: true,
            stack: !config.disable_stack.unwrap_or_default(),
            memory: config.enable_memory.unwrap_or_default(),
            storage: !config.disable_storage.unwrap_or_default(),
            calls: config.is_return_data_enabled(),
        });
    };
    let calls = Recorded { calls: true, ..Recorded::default() };
    match tracer {
        GethDebugTracerType::BuiltInTracer(BuiltIn::Erc7562Tracer) => {
            Ok(Recorded { steps: true, stack: true, memory: true, storage: true, calls: true })
        }
        GethDebugTracerType::BuiltInTracer(BuiltIn::NoopTracer) => Ok(Recorded::default()),
        GethDebugTracerType::BuiltInTracer(BuiltIn::StateGasTracer) => {
            Err(invalid("the tracer stateGasTracer is not supported"))
        }
        GethDebugTracerType::BuiltInTracer(_) => Ok(calls),
        GethDebugTracerType::JsTracer(name) => {
            let shown: String = name.chars().take(60).collect();
            Err(invalid(format!(
                "there is no tracer {shown:?}, and JavaScript tracers are not supported: use \
                 callTracer, prestateTracer, 4byteTracer, flatCallTracer, muxTracer, \
                 erc7562Tracer, noopTracer, or none for the instruction log"
            )))
        }
    }
}

/// When the trace must have ended: as the caller says, but no later than the node allows.
fn deadline(context: &Context, timeout: Option<&str>) -> RpcResult<Deadline> {
    let allowed = context.settings.call_time_max;
    let Some(timeout) = timeout else { return Ok(Deadline::after(allowed)) };
    let wanted = go_duration(timeout)
        .ok_or_else(|| invalid(format!("timeout {timeout:?} is not a duration such as \"5s\"")))?;
    Ok(Deadline::after(wanted.min(allowed)))
}

/// A duration as Go writes them: numbers with units, largest first, such as "1m30s" or "1.5s".
fn go_duration(text: &str) -> Option<Duration> {
    if text.is_empty() || text.len() > 64 {
        return None;
    }
    let mut rest = text;
    let mut seconds = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit_end] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3_600.0,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let ms = |text| go_duration(text).map(|duration| duration.as_millis());
        assert_eq!(ms("5s"), Some(5_000));
        assert_eq!(ms("1m30s"), Some(90_000));
        assert_eq!(ms("1.5s"), Some(1_500));
        assert_eq!(ms("250ms"), Some(250));
        for bad in ["", "5", "s", "-5s", "5 s", "5days", "..s", "1e9s", "µ"] {
            assert_eq!(go_duration(bad), None, "{bad}");
        }
    }
}
