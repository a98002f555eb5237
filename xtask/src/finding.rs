//! What a rule found, in the words its reader needs.

use std::fmt;

/// One breach of one rule: where it is, what is wrong, what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// `path`, `path:line`, or the name of a crate.
    pub(crate) place: String,
    /// What is wrong and what to do about it, one sentence.
    pub(crate) message: String,
}

impl Finding {
    /// A finding about a file or crate as a whole.
    pub(crate) fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }

    /// A finding about one line; `line_index` counts from zero.
    pub(crate) fn at(path: &str, line_index: usize, message: impl Into<String>) -> Self {
        Self::new(format!("{path}:{}", line_index + 1), message)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}
