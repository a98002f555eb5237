//! `RESULTS.md`: sections that are replaced one at a time, so that a profile does not wipe out a table.

use std::{fs, path::Path};

use eyre::{Result, WrapErr};

const HEAD: &str = "# The chain benchmark: results\n\n\
    Written by `cargo run --release -p openledger-bench-chain`; see README.md beside it for what is \
    measured and how.\n";

/// Replaces the section `name` of the file, or adds it.
pub(crate) fn put_section(path: &Path, name: &str, content: &str) -> Result<()> {
    let old = fs::read_to_string(path).unwrap_or_else(|_| HEAD.to_owned());
    fs::write(path, with_section(&old, name, content))
        .wrap_err_with(|| format!("cannot write {}", path.display()))
}

fn with_section(old: &str, name: &str, content: &str) -> String {
    let (begin, end) = (format!("<!-- begin {name} -->"), format!("<!-- end {name} -->"));
    let section = format!("{begin}\n{}\n{end}", content.trim_end());
    match (old.find(&begin), old.find(&end)) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{section}{}", &old[..from], &old[to + end.len()..])
        }
        _ => format!("{}\n\n{section}\n", old.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_the_others_stay() {
        let one = with_section(HEAD, "tables", "first");
        let two = with_section(&one, "profile", "other");
        let three = with_section(&two, "tables", "second\n");
        assert!(three.starts_with(HEAD.trim_end()));
        assert!(!three.contains("first"));
        assert!(three.contains("<!-- begin tables -->\nsecond\n<!-- end tables -->"));
        assert!(three.contains("<!-- begin profile -->\nother\n<!-- end profile -->"));
        assert_eq!(with_section(&three, "tables", "second"), three);
    }
}
