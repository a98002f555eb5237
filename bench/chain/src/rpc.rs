//! JSON-RPC for preparing and watching: nothing that is timed goes through here but the clock's own
//! questions.

use std::net::SocketAddr;

use eyre::{Result, WrapErr, bail, eyre};
use serde_json::{Value, json};

use crate::http::{self, Connection};

/// Calls in one preparing batch.
const BATCH: usize = 200;

/// A client on one connection.
pub(crate) struct Client {
    addr: SocketAddr,
    connection: Connection,
}

impl Client {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self { addr, connection: Connection::new(addr) }
    }

    /// One call. Errors: the node's own, or that it did not answer.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer: Value = self.exchange(&body)?;
        result(answer).wrap_err_with(|| method.to_owned())
    }

    /// Many calls of one method, in batches. The answers are in the order of `params`.
    pub(crate) fn call_many(&mut self, method: &str, params: &[Value]) -> Result<Vec<Value>> {
        let mut results = Vec::with_capacity(params.len());
        for chunk in params.chunks(BATCH) {
            let calls = chunk.iter().enumerate().map(|(id, params)| {
                json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
            });
            let Value::Array(mut answers) = self.exchange(&calls.collect())? else {
                bail!("{method}: a batch was not answered by a batch");
            };
            if answers.len() != chunk.len() {
                bail!("{method}: {} answers to {} calls", answers.len(), chunk.len());
            }
            answers.sort_by_key(|answer| answer["id"].as_u64());
            for answer in answers {
                results.push(result(answer).wrap_err_with(|| method.to_owned())?);
            }
        }
        Ok(results)
    }

    /// A call whose answer is a quantity.
    pub(crate) fn quantity(&mut self, method: &str, params: Value) -> Result<u64> {
        let value = self.call(method, params)?;
        quantity(&value).ok_or_else(|| eyre!("{method} answered {value}"))
    }

    fn exchange(&mut self, body: &Value) -> Result<Value> {
        let request = http::request(self.addr, body.to_string().as_bytes());
        // A connection that was idle may have been closed by the node: once more on a new one. Only
        // calls that may be repeated go through this client.
        let first = self.connection.exchange(&request).map(<[u8]>::to_vec);
        let body = match first {
            Ok(body) => body,
            Err(_) => self.connection.exchange(&request)?.to_vec(),
        };
        serde_json::from_slice(&body).wrap_err("the answer is not JSON")
    }
}

/// A JSON-RPC quantity, such as `"0x10"`.
pub(crate) fn quantity(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

fn result(mut answer: Value) -> Result<Value> {
    match answer.get("error") {
        Some(error) => Err(eyre!("{error}")),
        None => Ok(answer["result"].take()),
    }
}
