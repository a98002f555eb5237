//! The cases that are known to fail, each with its reason.

use std::collections::HashSet;

use crate::Error;

/// The list that is committed beside the code.
const COMMITTED: &str = include_str!("../expected-failures.txt");

/// Known failures: `path::case | reason`, one per line; a path that ends in `*` stands for all cases
/// that begin like it.
#[derive(Clone, Debug, Default)]
pub struct ExpectedFailures {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    id: String,
    prefix: bool,
    reason: String,
}

impl ExpectedFailures {
    /// The list that is committed beside the code.
    ///
    /// Errors: [`Error::ExpectedFailures`].
    pub fn committed() -> Result<Self, Error> {
        Self::parse(COMMITTED)
    }

    /// Reads a list. Blank lines and lines that begin with `#` say nothing.
    ///
    /// Errors: [`Error::ExpectedFailures`] for an entry without a reason, or one that stands twice.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.trim();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let wrong = |reason| Error::ExpectedFailures { line, reason };
            let (id, reason) =
                content.rsplit_once(" | ").ok_or(wrong("an entry is `path::case | reason`"))?;
            if reason.trim().is_empty() {
                return Err(wrong("the reason is missing"));
            }
            if !seen.insert(id) {
                return Err(wrong("the entry stands twice"));
            }
            let (id, prefix) = match id.strip_suffix('*') {
                Some(id) => (id, true),
                None => (id, false),
            };
            entries.push(Entry { id: id.to_owned(), prefix, reason: reason.trim().to_owned() });
        }
        Ok(Self { entries })
    }

    /// The reason why the case `id` is known to fail, if it is.
    pub fn reason(&self, id: &str) -> Option<&str> {
        let fits = |entry: &&Entry| {
            if entry.prefix { id.starts_with(&entry.id) } else { id == entry.id }
        };
        self.entries.iter().find(fits).map(|entry| entry.reason.as_str())
    }

    /// Entries under one of `roots` that none of `ids` fits: the list has grown stale, or the
    /// fixtures have changed.
    pub(crate) fn unmatched(&self, roots: &[&str], ids: &[String]) -> Vec<String> {
        let under = |entry: &&Entry| roots.iter().any(|root| entry.id.starts_with(root));
        let fits = |entry: &Entry| {
            ids.iter()
                .any(|id| if entry.prefix { id.starts_with(&entry.id) } else { *id == entry.id })
        };
        let left = self.entries.iter().filter(under).filter(|entry| !fits(entry));
        left.map(|entry| entry.id.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_name_a_case_or_all_that_begin_alike() {
        let list =
            ExpectedFailures::parse("# why\n\na/b.json::x | no such fork\na/c* | slow\n").unwrap();
        assert_eq!(list.reason("a/b.json::x"), Some("no such fork"));
        assert_eq!(list.reason("a/b.json::xy"), None);
        assert_eq!(list.reason("a/c.json::z"), Some("slow"));
        assert_eq!(list.unmatched(&["a/"], &["a/cd".to_owned()]), ["a/b.json::x"]);
        assert!(list.unmatched(&["b/"], &[]).is_empty());
    }

    #[test]
    fn an_entry_needs_a_reason_and_stands_once() {
        for bad in ["a/b.json::x", "a |  ", "a | b\na | c"] {
            assert!(ExpectedFailures::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_committed_list_can_be_read() {
        ExpectedFailures::committed().unwrap();
    }
}
