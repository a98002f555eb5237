//! How many tests ran, read from the result lines that cargo, forge and node print.

/// Tests by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TestCounts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    /// Ignored or skipped.
    pub(super) ignored: u64,
}

impl TestCounts {
    /// Tests that ran.
    pub(super) fn run(self) -> u64 {
        self.passed + self.failed
    }

    /// Both together.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
        }
    }

    /// Adds what `line` reports, which is nothing unless it is the result line of a set of tests:
    /// `test result: ok. 3 passed; 0 failed; 1 ignored; …` (cargo) or
    /// `Suite result: ok. 3 passed; 0 failed; 1 skipped; …` (forge).
    pub(super) fn add_line(&mut self, line: &str) {
        let line = line.trim_start();
        let result = ["test result:", "Suite result:"].iter().find_map(|p| line.strip_prefix(p));
        let Some((_, counts)) = result.and_then(|result| result.split_once(". ")) else { return };
        for count in counts.split(';') {
            let mut words = count.split_whitespace();
            let (number, kind) = (words.next().and_then(|n| n.parse::<u64>().ok()), words.next());
            match (number, kind) {
                (Some(n), Some("passed")) => self.passed += n,
                (Some(n), Some("failed")) => self.failed += n,
                (Some(n), Some("ignored" | "skipped")) => self.ignored += n,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_of_cargo_and_forge_add_up() {
        let mut counts = TestCounts::default();
        counts.add_line("running 4 tests");
        counts.add_line("test a ... ok");
        counts.add_line(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.1s",
        );
        counts.add_line("Suite result: FAILED. 5 passed; 2 failed; 1 skipped; finished in 9.1ms");
        assert_eq!(counts, TestCounts { passed: 8, failed: 2, ignored: 2 });
        assert_eq!(counts.run(), 10);
    }
}
