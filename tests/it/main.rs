//! Whole-system scenarios: the real binary, a real node, real HTTP, on loopback.

#![allow(clippy::unwrap_used, reason = "a scenario that cannot go on is a failed scenario")]

mod adapter;
mod bad_input;
mod demo;
mod floor;
mod groups;
mod hub;
#[path = "../../crates/hub/tests/it/hub_server.rs"]
#[allow(dead_code, reason = "its bad manners are for the tests of the crate")]
mod hub_server;
mod machine;
mod node;
mod serve;
mod serve_clients;
mod training;
mod up;
