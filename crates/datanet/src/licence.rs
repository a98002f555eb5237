//! Under which terms a version may be used.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::Error;

/// Bytes of a licence expression.
pub const LICENCE_BYTES_MAX: usize = 128;

/// An SPDX licence expression, such as `CC-BY-4.0` or `MIT OR Apache-2.0`.
///
/// Only its characters are checked here; whether terms are compatible is decided where data is mixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Licence(String);

impl Licence {
    /// The expression.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Licence {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || " .+-:()".contains(c);
        let fits = text.len() <= LICENCE_BYTES_MAX && text.chars().all(allowed);
        if !fits
            || text.trim() != text
            || !text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '(')
        {
            return Err(Error::BadLicence { text: text.chars().take(LICENCE_BYTES_MAX).collect() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Licence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Licence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spdx_expressions_are_taken_and_other_text_is_not() {
        for good in
            ["CC0-1.0", "MIT OR Apache-2.0", "(MIT AND CC-BY-4.0)", "LicenseRef-custom", "GPL-2.0+"]
        {
            assert_eq!(good.parse::<Licence>().unwrap().as_str(), good);
        }
        for bad in ["", " MIT", "do what you like!", "MIT\n", "<b>", &"x".repeat(129)] {
            assert!(bad.parse::<Licence>().is_err(), "{bad}");
        }
    }
}
