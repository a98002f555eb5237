//! The chat template of a base.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| openledger_model::fuzzing::chat_template(bytes));
