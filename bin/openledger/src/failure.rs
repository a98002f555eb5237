use std::fmt;

/// Why a command failed, for the person who ran it: what, why, what to do next.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub error: String,
    pub cause: Option<String>,
    pub hint: Option<String>,
}

/// Exit codes of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Failure = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 5,
    InsufficientFunds = 6,
    Chain = 7,
    Interrupted = 130,
}

impl Failure {
    pub fn new(exit: Exit, error: impl Into<String>) -> Self {
        Self { exit, error: error.into(), cause: None, hint: None }
    }

    pub fn cause(self, cause: impl fmt::Display) -> Self {
        Self { cause: Some(cause.to_string()), ..self }
    }

    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.error)?;
        if let Some(cause) = &self.cause {
            write!(f, "\ncause: {cause}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// Turns a library error into a failure of a command.
pub trait OrFail<T> {
    /// `error` says what was being done; the library's error becomes the cause.
    fn or_fail(self, exit: Exit, error: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> OrFail<T> for Result<T, E> {
    fn or_fail(self, exit: Exit, error: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|cause| Failure::new(exit, error).cause(cause))
    }
}
