//! The weights of a base or an adapter.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| openledger_model::fuzzing::safetensors(bytes));
