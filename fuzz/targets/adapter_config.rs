//! The config of an adapter that anyone can publish.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| openledger_model::fuzzing::adapter_config(bytes));
