//! What became of one case.

/// One case of a fixture file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Name within the file; empty where the file is one case.
    pub name: String,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The node did what the fixture says.
    Passed,
    /// It did something else.
    Failed(String),
    /// The case asks for something that is deliberately not here.
    NotSupported(String),
}

impl Case {
    /// Runs one case. A panic inside it is its failure.
    pub(crate) fn run(
        name: impl Into<String>,
        check: impl FnOnce() -> Result<(), Failure>,
    ) -> Self {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
        let verdict = match outcome {
            Ok(Ok(())) => Verdict::Passed,
            Ok(Err(Failure::Wrong(reason))) => Verdict::Failed(reason),
            Ok(Err(Failure::NotSupported(reason))) => Verdict::NotSupported(reason),
            Err(panic) => {
                let text = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied());
                Verdict::Failed(format!("panic: {}", text.unwrap_or("without a message")))
            }
        };
        Self { name: name.into(), verdict }
    }
}

/// Why a case did not pass.
#[derive(Debug)]
pub(crate) enum Failure {
    Wrong(String),
    NotSupported(String),
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Wrong(reason)
    }
}

impl From<&str> for Failure {
    fn from(reason: &str) -> Self {
        Self::Wrong(reason.to_owned())
    }
}

/// Errors: what differs, unless `got` is `want`.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    got: &T,
    want: &T,
) -> Result<(), Failure> {
    if got == want {
        Ok(())
    } else {
        Err(Failure::Wrong(format!("{what}: got {got:?}, expected {want:?}")))
    }
}
