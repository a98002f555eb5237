//! Whole-node scenarios, a file per theme.

#![allow(clippy::unwrap_used)]

mod contracts;
mod dev;
mod limits;
mod metrics;
mod pending;
mod pool;
mod start;
mod support;
mod transactions;
