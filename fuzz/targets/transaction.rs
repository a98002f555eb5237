//! What arrives at `eth_sendRawTransaction`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| openledger_chain::fuzzing::transaction(bytes));
