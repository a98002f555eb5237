//! What a start finds in the block log.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| openledger_chain::fuzzing::block_log(bytes));
