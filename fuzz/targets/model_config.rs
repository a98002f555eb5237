//! The config of a base.
#![no_main]

use openledger_model::fuzzing;

libfuzzer_sys::fuzz_target!(
    init: openledger_fuzz::plant(fuzzing::seeds::model_config()),
    |bytes: &[u8]| fuzzing::model_config(bytes)
);
