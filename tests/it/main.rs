//! Whole-system scenarios: the real binary, a real node, real HTTP, on loopback.

#![allow(clippy::unwrap_used, reason = "a scenario that cannot go on is a failed scenario")]

mod bad_input;
mod demo;
mod floor;
mod groups;
mod machine;
mod node;
mod serve;
mod training;
mod up;
