//! What a run came to.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// Failures that the table shows per suite; the JSON has all of them.
const SHOWN_MAX: usize = 40;

/// What a run came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// One entry per suite that was asked for.
    pub suites: Vec<SuiteReport>,
}

/// What one suite came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SuiteReport {
    /// The suite's name.
    pub name: String,
    /// Fixture folders of the suite that are not there.
    pub absent: Vec<String>,
    /// Files that were read.
    pub files: usize,
    /// Cases that passed.
    pub passed: usize,
    /// Cases that failed, by id, and are not on the list.
    pub failed: BTreeMap<String, String>,
    /// Cases that failed as the list says, by id, with the list's reason.
    pub expected_failures: BTreeMap<String, String>,
    /// Cases that are on the list and passed.
    pub unexpected_passes: Vec<String>,
    /// Entries of the list that no case fits.
    pub unmatched_expectations: Vec<String>,
    /// Cases that are not supported, by reason.
    pub not_supported: BTreeMap<String, usize>,
    /// Seconds that the suite took.
    pub seconds: f64,
}

impl SuiteReport {
    /// Cases that were run.
    pub fn ran(&self) -> usize {
        self.passed + self.failed.len() + self.expected_failures.len()
    }

    /// Share of the cases that were run which passed, in percent.
    #[expect(clippy::cast_precision_loss, reason = "a percentage for display")]
    pub fn percent(&self) -> f64 {
        if self.ran() == 0 { 0.0 } else { 100.0 * self.passed as f64 / self.ran() as f64 }
    }

    /// Whether the suite ran and came out as the list of expected failures says.
    pub fn is_as_expected(&self) -> bool {
        self.ran() > 0
            && self.failed.is_empty()
            && self.unexpected_passes.is_empty()
            && self.unmatched_expectations.is_empty()
    }
}

impl Report {
    /// Whether every suite ran and came out as the list of expected failures says.
    pub fn is_as_expected(&self) -> bool {
        self.suites.iter().all(SuiteReport::is_as_expected)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<14} {:>7} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8} {:>7}",
            "suite", "files", "ran", "passed", "expected", "failed", "not supp.", "passed", "time"
        )?;
        for suite in &self.suites {
            writeln!(
                f,
                "{:<14} {:>7} {:>8} {:>8} {:>8} {:>8} {:>9} {:>7.3}% {:>6.1}s",
                suite.name,
                suite.files,
                suite.ran(),
                suite.passed,
                suite.expected_failures.len(),
                suite.failed.len() + suite.unexpected_passes.len(),
                suite.not_supported.values().sum::<usize>(),
                suite.percent(),
                suite.seconds,
            )?;
        }
        for suite in &self.suites {
            for folder in &suite.absent {
                writeln!(f, "\nNOT RUN, {}: the folder {folder} is not there", suite.name)?;
            }
            for (reason, count) in &suite.not_supported {
                writeln!(f, "\nnot supported, {}: {count} cases: {reason}", suite.name)?;
            }
            let mut reasons = BTreeMap::<&str, usize>::new();
            for reason in suite.expected_failures.values() {
                *reasons.entry(reason).or_default() += 1;
            }
            for (reason, count) in reasons {
                writeln!(f, "\nexpected to fail, {}: {count} cases: {reason}", suite.name)?;
            }
            for (id, reason) in suite.failed.iter().take(SHOWN_MAX) {
                let reason: String = reason.chars().take(400).collect();
                writeln!(f, "\nFAILED {id}\n    {reason}")?;
            }
            if let Some(more) = suite.failed.len().checked_sub(SHOWN_MAX).filter(|n| *n > 0) {
                writeln!(f, "\n… and {more} more failures in {}", suite.name)?;
            }
            for id in &suite.unexpected_passes {
                writeln!(f, "\nPASSED, though expected-failures.txt says it fails: {id}")?;
            }
            for id in &suite.unmatched_expectations {
                writeln!(f, "\nSTALE, no case fits this entry of expected-failures.txt: {id}")?;
            }
        }
        Ok(())
    }
}
