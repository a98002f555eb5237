//! The vocabulary of a base.
//!
//! The reader catches what the library panics on and makes an error of it. libFuzzer's own hook would end at such a
//! panic, so it is replaced: only a panic that leaves the reader is a report.
#![no_main]

use std::cell::RefCell;
use std::panic::{catch_unwind, set_hook};

use openledger_model::fuzzing;

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

libfuzzer_sys::fuzz_target!(
    init: {
        openledger_fuzz::plant(fuzzing::seeds::tokenizer_json());
        set_hook(Box::new(|panic| LAST_PANIC.with_borrow_mut(|last| *last = panic.to_string())));
    },
    |bytes: &[u8]| if catch_unwind(|| fuzzing::tokenizer_json(bytes)).is_err() {
        LAST_PANIC.with_borrow(|panic| eprintln!("{panic}"));
        std::process::abort();
    }
);
