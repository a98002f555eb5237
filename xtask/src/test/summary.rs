//! What a run of all steps comes to, as a table a person reads at a glance.

use std::fmt::Write;
use std::time::Duration;

use super::counts::TestCounts;
use super::{Outcome, Report};

/// One line per step, then the sums. The last line counts steps: `N passed, N failed`, and those that
/// could not run, if any.
pub(super) fn table(reports: &[Report]) -> String {
    let mut table = String::new();
    row(&mut table, "step", "time", "tests", "result");
    for report in reports {
        let result = match &report.outcome {
            Outcome::Passed => "ok".to_owned(),
            Outcome::Failed(reason) => format!("FAILED: {reason}"),
            Outcome::NotRun(needed) => format!("not run, needs: {needed}"),
        };
        row(&mut table, report.step, &duration(report.time), &tests(report.tests), &result);
    }
    let time = reports.iter().map(|report| report.time).sum();
    let sum = reports.iter().fold(TestCounts::default(), |sum, report| sum.plus(report.tests));
    row(&mut table, "together", &duration(time), &tests(sum), "");
    let count = |wanted: fn(&Outcome) -> bool| {
        reports.iter().filter(|report| wanted(&report.outcome)).count()
    };
    let not_run = count(|outcome| matches!(outcome, Outcome::NotRun(_)));
    table.push('\n');
    write!(
        table,
        "{} passed, {} failed",
        count(|outcome| matches!(outcome, Outcome::Passed)),
        count(|outcome| matches!(outcome, Outcome::Failed(_))),
    )
    .expect("writing to a String does not fail");
    if not_run > 0 {
        write!(table, ", {not_run} not run").expect("writing to a String does not fail");
    }
    table
}

fn row(table: &mut String, step: &str, time: &str, tests: &str, result: &str) {
    let line = format!("{step:<28}{time:>10}  {tests:<24}{result}");
    table.push_str(line.trim_end());
    table.push('\n');
}

fn tests(counts: TestCounts) -> String {
    let mut text = Vec::new();
    for (count, kind) in
        [(counts.passed, "passed"), (counts.failed, "FAILED"), (counts.ignored, "ignored")]
    {
        if count > 0 {
            text.push(format!("{count} {kind}"));
        }
    }
    text.join(", ")
}

/// `0.4 s`, `59.9 s`, `12 m 05 s`.
pub(super) fn duration(time: Duration) -> String {
    let tenths = time.as_millis() / 100;
    if tenths < 600 {
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    let seconds = time.as_secs();
    format!("{} m {:02} s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(step: &'static str, outcome: Outcome, passed: u64, failed: u64) -> Report {
        let tests = TestCounts { passed, failed, ignored: 0 };
        Report { step, outcome, tests, time: Duration::from_millis(1_250) }
    }

    #[test]
    fn the_last_line_counts_steps_and_the_line_before_sums_tests() {
        let table = table(&[
            report("tidy", Outcome::Passed, 0, 0),
            report("workspace tests", Outcome::Failed("exit status: 101".to_owned()), 7, 1),
            report("contract tests", Outcome::NotRun("npm packages"), 0, 0),
        ]);
        assert!(table.ends_with("\n1 passed, 1 failed, 1 not run"), "{table}");
        assert!(table.contains("7 passed, 1 FAILED"), "{table}");
        assert!(table.contains("not run, needs: npm packages"), "{table}");
    }

    #[test]
    fn a_run_without_failure_ends_with_no_more_than_the_two_counts() {
        assert!(table(&[report("tidy", Outcome::Passed, 0, 0)]).ends_with("\n1 passed, 0 failed"));
    }

    #[test]
    fn durations_read_as_a_person_says_them() {
        assert_eq!(duration(Duration::from_millis(449)), "0.4 s");
        assert_eq!(duration(Duration::from_millis(59_999)), "59.9 s");
        assert_eq!(duration(Duration::from_secs(725)), "12 m 05 s");
    }
}
