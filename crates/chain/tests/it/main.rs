//! Whole-node scenarios, a file per theme.

#![allow(clippy::unwrap_used)]

mod contracts;
mod fees;
mod limits;
mod pool;
mod predeploys;
mod start;
mod support;
mod transactions;
