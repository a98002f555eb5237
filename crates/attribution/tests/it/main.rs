//! The attribution of an answer against its definition, written a second time in plain rationals, and
//! against what it promises to people.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod agreement;
mod certificates;
mod contract;
mod explanations;
mod floor_multiples;
mod generators;
mod groups;
mod noise;
mod promises;
mod recovery;
mod reference;
mod span_oracle;
mod vectors;
