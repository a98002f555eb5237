//! What arrives at the JSON-RPC port.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| openledger_chain::fuzzing::rpc_request(bytes));
