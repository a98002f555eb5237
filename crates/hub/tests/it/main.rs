//! A model by its name: fetched from a Hub on loopback, kept in a cache, and every way in which that fails.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is a failed test")]

mod fetching;
mod hub_server;
