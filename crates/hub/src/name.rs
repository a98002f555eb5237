//! `org/name@revision`.

use std::fmt;

/// Longest organisation, name or revision.
const NAME_CHARS_MAX: usize = 96;
/// The branch where no revision is named.
const MAIN: &str = "main";

/// A model or adapter on the Hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubName {
    /// `org/name`.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

impl HubName {
    /// Reads `org/name` or `org/name@revision`; `None` for everything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (repository, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let (org, name) = repository.split_once('/')?;
        let named = [org, name, revision].into_iter().all(is_name);
        named.then(|| Self { repository: repository.into(), revision: revision.into() })
    }

    /// The command of Hugging Face's tools that fetches it.
    pub(crate) fn command(&self) -> String {
        format!("hf download {} --revision {}", self.repository, self.revision)
    }

    /// Its folder in a cache.
    pub(crate) fn folder(&self) -> String {
        format!("models--{}", self.repository.replace('/', "--"))
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository, self.revision)
    }
}

/// One component of a path, with nothing that leads out of a folder.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&text.len())
        && !text.starts_with('.')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_an_organisation_and_nothing_that_leads_out_of_a_folder() {
        let name = HubName::parse("org/tiny-1.5@v2").expect("a name");
        assert_eq!((name.repository.as_str(), name.revision.as_str()), ("org/tiny-1.5", "v2"));
        assert_eq!(name.folder(), "models--org--tiny-1.5");
        assert_eq!(HubName::parse("org/tiny").expect("a name").revision, "main");
        for text in
            ["tiny", "org/../x", "org/x@../main", "../x", "a/b/c", "org/", "/x", "org/x@", "org/.x"]
        {
            assert_eq!(HubName::parse(text), None, "{text}");
        }
    }
}
