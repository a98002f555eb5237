//! Whole-node scenarios, a file per theme.

#![allow(clippy::unwrap_used)]

mod calls;
mod contracts;
mod dev;
mod fees;
mod limits;
mod metrics;
mod node_methods;
mod pending;
mod pool;
mod predeploys;
mod simulations;
mod start;
mod support;
mod traces;
mod transactions;
