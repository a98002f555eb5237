//! Requests to the RPC server, by method.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

/// What the label says for a method that does not exist.
const UNKNOWN_METHOD: &str = "unknown";
/// JSON-RPC 2.0: the server is at fault, not the request.
const INTERNAL_ERROR: i32 = -32603;
/// From a quick read to the longest call that is allowed.
const REQUEST_SECONDS: [f64; 10] =
    [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.025, 0.1, 1.0, 10.0];

type MethodLabel = [(&'static str, &'static str); 1];
type OutcomeLabels = [(&'static str, &'static str); 2];

/// Requests by method.
#[derive(Clone, Debug)]
pub(super) struct RpcMetrics {
    requests: Family<OutcomeLabels, Counter>,
    seconds: Family<MethodLabel, Histogram, fn() -> Histogram>,
}

impl RpcMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let requests = Family::default();
        let help = "Requests by method and outcome: ok, client_error, server_error";
        registry.register("rpc_requests", help, requests.clone());
        let new: fn() -> Histogram = || Histogram::new(REQUEST_SECONDS);
        let seconds = Family::new_with_constructor(new);
        let help = "From a request being read to its answer being ready";
        registry.register_with_unit("rpc_request", help, Unit::Seconds, seconds.clone());
        Self { requests, seconds }
    }

    pub(super) fn table(&self, names: impl Iterator<Item = &'static str>) -> MethodTable {
        let mut names: Vec<_> = names.collect();
        names.push(UNKNOWN_METHOD);
        let index = names.iter().enumerate().map(|(index, name)| (*name, index)).collect();
        let slots = names.into_iter().map(|name| Slot { name, series: OnceLock::new() });
        MethodTable(Arc::new(Table { index, slots: slots.collect(), metrics: self.clone() }))
    }
}

/// The methods of a server, each with its counters. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct MethodTable(Arc<Table>);

#[derive(Debug)]
struct Table {
    index: HashMap<&'static str, usize>,
    slots: Vec<Slot>,
    metrics: RpcMetrics,
}

/// A method. Its series appear with its first call, so that the text lists only what is used.
#[derive(Debug)]
struct Slot {
    name: &'static str,
    series: OnceLock<Series>,
}

#[derive(Debug)]
struct Series {
    ok: Counter,
    client_error: Counter,
    server_error: Counter,
    seconds: Histogram,
}

/// A method in its table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Method(usize);

impl MethodTable {
    /// The method with this name, or the one that stands for all that do not exist.
    pub(crate) fn find(&self, name: &str) -> Method {
        // The last one is the unknown one.
        Method(self.0.index.get(name).copied().unwrap_or(self.0.slots.len() - 1))
    }

    /// A call was answered in this time, with this error code if it failed.
    pub(crate) fn answered(&self, method: Method, error: Option<i32>, took: Duration) {
        let slot = &self.0.slots[method.0];
        let series = slot.series.get_or_init(|| self.0.metrics.series(slot.name));
        match error {
            None => series.ok.inc(),
            Some(INTERNAL_ERROR) => series.server_error.inc(),
            Some(_) => series.client_error.inc(),
        };
        series.seconds.observe(took.as_secs_f64());
    }
}

impl RpcMetrics {
    fn series(&self, method: &'static str) -> Series {
        let requests = |outcome| {
            self.requests.get_or_create_owned(&[("method", method), ("outcome", outcome)])
        };
        Series {
            ok: requests("ok"),
            client_error: requests("client_error"),
            server_error: requests("server_error"),
            seconds: self.seconds.get_or_create_owned(&[("method", method)]),
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn a_made_up_method_name_adds_no_series() {
        let mut registry = Registry::default();
        let metrics = RpcMetrics::new(&mut registry);
        let table = metrics.table(["eth_chainId", "eth_call"].into_iter());
        let took = Duration::from_micros(80);
        for made_up in 0..1_000 {
            let method = table.find(&format!("eth_made_up{made_up}"));
            table.answered(method, Some(-32601), took);
        }
        table.answered(table.find("eth_call"), None, took);
        table.answered(table.find("eth_call"), Some(INTERNAL_ERROR), took);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "rpc_requests_total{method=\"unknown\",outcome=\"client_error\"} 1000",
            "rpc_requests_total{method=\"eth_call\",outcome=\"ok\"} 1",
            "rpc_requests_total{method=\"eth_call\",outcome=\"server_error\"} 1",
            "rpc_request_seconds_count{method=\"eth_call\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("made_up"));
        assert!(!text.contains("eth_chainId"), "nobody called it");
    }
}
