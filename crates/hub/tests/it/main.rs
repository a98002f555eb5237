//! A model by its name: fetched from a Hub on loopback, kept in a cache, and every way in which that fails.

mod fetching;
mod hub_server;
