//! The schema of an answer, and an answer that is drawn under it.
#![no_main]

use openledger_openlora::fuzzing;

libfuzzer_sys::fuzz_target!(
    init: openledger_fuzz::plant(fuzzing::seeds()),
    |bytes: &[u8]| fuzzing::response_format(bytes)
);
