//! Whole-system scenarios: the real binary, a real node, real HTTP, on loopback.

mod bad_input;
mod demo;
mod machine;
mod up;
