//! The config of a base.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| openledger_model::fuzzing::model_config(bytes));
