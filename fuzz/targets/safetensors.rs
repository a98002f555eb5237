//! The weights of a base or an adapter.
#![no_main]

use openledger_model::fuzzing;

libfuzzer_sys::fuzz_target!(
    init: openledger_fuzz::plant(fuzzing::seeds::safetensors()),
    |bytes: &[u8]| fuzzing::safetensors(bytes)
);
