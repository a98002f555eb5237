//! The chat template of a base.
#![no_main]

use openledger_model::fuzzing;

libfuzzer_sys::fuzz_target!(
    init: openledger_fuzz::plant(fuzzing::seeds::chat_template()),
    |bytes: &[u8]| fuzzing::chat_template(bytes)
);
