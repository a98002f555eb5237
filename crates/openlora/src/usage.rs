//! What was done in whose name, for a bounded number of names.
//!
//! A hundred thousand adapters make at most [`LABELS_MAX`] series of each kind: those with the most recent
//! traffic are counted apart, all others together. A name that comes back after it was left out begins at
//! zero, as a counter does after a restart.
//!
//! **Invariant:** every use is counted exactly once: under its name, or under the others'.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::Arc,
};

use crate::metrics::Histogram;

/// Most tenants, and most adapters, that are counted apart.
pub const LABELS_MAX: usize = 200;

/// What all that are not counted apart are called together. Whoever is called so is among them.
const OTHERS: &str = "other";

/// Uses after which the weight of earlier ones is halved.
const HALVED_AFTER: u64 = 1 << 16;

/// Upper bounds of the time buckets of one name, in seconds: fewer than for all together.
const SECONDS: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// What was done in somebody's name, or with some adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct Use {
    /// Answers that began.
    pub answers: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub answer_tokens: u64,
    /// Time from the first token of an answer to its latest, over all answers, in seconds.
    pub answer_seconds: f64,
    /// Requests that found the queue full.
    pub refused: u64,
    /// Answers whose asker left.
    pub cancelled: u64,
    /// Answers that ended by a fault.
    pub failed: u64,
    /// From the request to the step in which it began, in seconds.
    pub queue_time: Histogram,
    /// From the request to its first token, in seconds.
    pub time_to_first_token: Histogram,
}

impl Default for Use {
    fn default() -> Self {
        Self {
            answers: 0,
            prompt_tokens: 0,
            answer_tokens: 0,
            answer_seconds: 0.0,
            refused: 0,
            cancelled: 0,
            failed: 0,
            queue_time: Histogram::new(&SECONDS),
            time_to_first_token: Histogram::new(&SECONDS),
        }
    }
}

impl Use {
    fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        self.prompt_tokens += other.prompt_tokens;
        self.answer_tokens += other.answer_tokens;
        self.answer_seconds += other.answer_seconds;
        self.refused += other.refused;
        self.cancelled += other.cancelled;
        self.failed += other.failed;
        self.queue_time.add(&other.queue_time);
        self.time_to_first_token.add(&other.time_to_first_token);
    }
}

/// Counts by name. See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Usage {
    by_name: BTreeMap<Arc<str>, Counted>,
    others: Use,
    since_halved: u64,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Counted {
    total: Use,
    /// Recent traffic; at least that of whoever it took the place of, so that a name with much traffic is
    /// never pushed out by many with little. Source: Space-Saving, Metwally et al. 2005.
    weight: u64,
}

impl Usage {
    /// Counts something for a name.
    pub(crate) fn count(&mut self, name: &Arc<str>, what: impl FnOnce(&mut Use)) {
        if &**name == OTHERS {
            return what(&mut self.others);
        }
        self.since_halved += 1;
        if self.since_halved >= HALVED_AFTER {
            self.since_halved = 0;
            self.by_name.values_mut().for_each(|counted| counted.weight /= 2);
        }
        if !self.by_name.contains_key(name) {
            let weight = if self.by_name.len() < LABELS_MAX { 0 } else { self.leave_one_out() };
            self.by_name.insert(Arc::clone(name), Counted { total: Use::default(), weight });
        }
        let counted = self.by_name.get_mut(name).expect("it was entered");
        counted.weight += 1;
        what(&mut counted.total);
    }

    /// Counts the name with the least traffic among the others. Returns its weight.
    fn leave_one_out(&mut self) -> u64 {
        let least = self.by_name.iter().min_by_key(|(_, counted)| counted.weight);
        let Some(name) = least.map(|(name, _)| Arc::clone(name)) else { return 0 };
        let gone = self.by_name.remove(&name).expect("it was found");
        self.others.add(&gone.total);
        gone.weight
    }

    /// What was done for a name that is counted apart.
    pub(crate) fn of(&self, name: &str) -> Option<&Use> {
        self.by_name.get(name).map(|counted| &counted.total)
    }

    /// Names that are counted apart.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_name.keys()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// In the text format of Prometheus, as `openlora_<label>_…{<label>="name"}`.
    pub(crate) fn write(&self, out: &mut String, label: &str) -> fmt::Result {
        type Part = (&'static str, fn(&Use) -> f64);
        let counters: [Part; 7] = [
            ("answers", |all| all.answers as f64),
            ("prompt_tokens", |all| all.prompt_tokens as f64),
            ("answer_tokens", |all| all.answer_tokens as f64),
            ("answer_seconds", |all| all.answer_seconds),
            ("requests_refused", |all| all.refused as f64),
            ("answers_cancelled", |all| all.cancelled as f64),
            ("answers_failed", |all| all.failed as f64),
        ];
        let named = self.by_name.iter().map(|(name, counted)| (&**name, &counted.total));
        let all: Vec<(String, &Use)> = named
            .chain([(OTHERS, &self.others)])
            .map(|(name, total)| (format!("{label}=\"{}\"", escaped(name)), total))
            .collect();
        for (name, value) in counters {
            let name = format!("openlora_{label}_{name}_total");
            writeln!(out, "# TYPE {name} counter")?;
            for (who, total) in &all {
                writeln!(out, "{name}{{{who}}} {}", value(total))?;
            }
        }
        type Times = (&'static str, fn(&Use) -> &Histogram);
        let histograms: [Times; 2] = [
            ("queue_time_seconds", |all| &all.queue_time),
            ("time_to_first_token_seconds", |all| &all.time_to_first_token),
        ];
        for (name, times) in histograms {
            let name = format!("openlora_{label}_{name}");
            writeln!(out, "# TYPE {name} histogram")?;
            for (who, total) in &all {
                times(total).write_series(out, &name, who)?;
            }
        }
        Ok(())
    }
}

/// A name from outside as a label's value.
pub(crate) fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(usage: &mut Usage, name: &str) {
        usage.count(&name.into(), |all| {
            all.answers += 1;
            all.queue_time.observe(0.2);
        });
    }

    #[test]
    fn names_from_outside_make_a_bounded_number_of_series() {
        let mut usage = Usage::default();
        for i in 0..10_000 {
            one(&mut usage, &format!("tenant {i}"));
            one(&mut usage, OTHERS);
        }
        assert_eq!(usage.by_name.len(), LABELS_MAX);
        let apart = usage.by_name.values().map(|counted| counted.total.answers);
        assert_eq!(apart.sum::<u64>() + usage.others.answers, 20_000);
        let apart = usage.by_name.values().map(|counted| counted.total.queue_time.count());
        assert_eq!(apart.sum::<u64>() + usage.others.queue_time.count(), 20_000);
        let mut text = String::new();
        usage.write(&mut text, "tenant").expect("a string takes everything");
        // Nine kinds with a heading; a histogram has its buckets, one more, sum and count.
        let lines = 9 + (LABELS_MAX + 1) * (7 + 2 * (SECONDS.len() + 3));
        assert_eq!(text.lines().count(), lines);
        let mut series: Vec<&str> =
            text.lines().filter_map(|l| l.rsplit_once(' ')).map(|l| l.0).collect();
        series.sort_unstable();
        assert!(series.windows(2).all(|two| two[0] != two[1]), "a series stands there twice");
    }

    #[test]
    fn much_traffic_is_never_pushed_out_by_many_names_with_little() {
        let mut usage = Usage::default();
        for i in 0..200_000u64 {
            one(&mut usage, &format!("adapter {i}"));
            if i % 50 == 0 {
                one(&mut usage, "busy");
            }
        }
        let busy = usage.of("busy").map(|all| all.answers);
        assert_eq!(busy, Some(4_000), "it was left out at some time");
    }

    #[test]
    fn who_was_busy_once_makes_room_for_who_is_busy_now() {
        let mut usage = Usage::default();
        (0..300_000).for_each(|i| one(&mut usage, &format!("early {}", i % LABELS_MAX)));
        for i in 0..1_000_000 {
            one(&mut usage, &format!("late {}", i % 20));
            one(&mut usage, &format!("rare {i}"));
        }
        let late = (0..20).filter(|i| usage.of(&format!("late {i}")).is_some()).count();
        assert_eq!(late, 20);
        let early = usage.names().filter(|name| name.starts_with("early")).count();
        assert!(early < 20, "{early} of those that are long gone are still counted apart");
    }
}
