//! Whole-node scenarios, a file per theme.

#![allow(clippy::unwrap_used)]

mod contracts;
mod dev;
mod fees;
mod limits;
mod metrics;
mod pending;
mod pool;
mod predeploys;
mod start;
mod support;
mod transactions;
