//! An adapter in the file that serving maps.
#![no_main]

use openledger_model::fuzzing;

libfuzzer_sys::fuzz_target!(
    init: openledger_fuzz::plant(fuzzing::seeds::packed_adapter()),
    |bytes: &[u8]| fuzzing::packed_adapter(bytes)
);
