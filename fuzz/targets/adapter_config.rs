//! The config of an adapter that anyone can publish.
#![no_main]

use openledger_model::fuzzing;

libfuzzer_sys::fuzz_target!(
    init: openledger_fuzz::plant(fuzzing::seeds::adapter_config()),
    |bytes: &[u8]| fuzzing::adapter_config(bytes)
);
