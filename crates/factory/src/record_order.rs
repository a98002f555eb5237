//! The order in which a run takes its records.

use openledger_tensor::Random;

/// Pass after pass, each in its own random order, so that any draw can be found without those before it.
#[derive(Debug)]
pub(crate) struct RecordOrder {
    seed: u64,
    records: usize,
    /// The pass that `order` holds.
    pass: Option<usize>,
    order: Vec<usize>,
}

impl RecordOrder {
    /// Of at least one record.
    pub(crate) fn new(seed: u64, records: usize) -> Self {
        Self { seed, records, pass: None, order: Vec::new() }
    }

    /// The record of a draw, counted from 0.
    pub(crate) fn record(&mut self, draw: usize) -> usize {
        let (pass, at) = (draw / self.records, draw % self.records);
        if self.pass != Some(pass) {
            self.order.clear();
            self.order.extend(0..self.records);
            // Stream numbers far from those of the initial values.
            Random::new(self.seed, (1 << 40) + pass as u64).shuffle(&mut self.order);
            self.pass = Some(pass);
        }
        self.order[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pass_takes_every_record_once_and_draws_may_be_asked_in_any_order() {
        let mut order = RecordOrder::new(3, 7);
        let all: Vec<usize> = (0..21).map(|draw| order.record(draw)).collect();
        for pass in all.chunks(7) {
            let mut sorted = pass.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..7).collect::<Vec<_>>());
        }
        assert_ne!(all[..7], all[7..14]);
        let backward: Vec<usize> = (0..21).rev().map(|draw| order.record(draw)).collect();
        assert!(backward.iter().rev().eq(&all));
    }
}
