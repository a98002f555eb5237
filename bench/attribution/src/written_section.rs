//! Parts of RESULTS.md that a command writes.
//!
//! A part lies between `<!-- begin NAME -->` and `<!-- end NAME -->`; what people write lies outside.

use std::fs;
use std::path::Path;

use eyre::{Result, WrapErr, eyre};

/// Prints a part, and puts it into `file` where one is given.
pub(crate) fn publish(file: Option<&Path>, name: &str, text: &str) -> Result<()> {
    println!("{text}");
    let Some(file) = file else { return Ok(()) };
    let old = fs::read_to_string(file).wrap_err_with(|| format!("{}", file.display()))?;
    let new = replaced(&old, name, text).wrap_err_with(|| format!("{}", file.display()))?;
    Ok(fs::write(file, new)?)
}

fn replaced(document: &str, name: &str, text: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- begin {name} -->"), format!("<!-- end {name} -->"));
    let missing = || eyre!("no part {name}: add the lines {begin} and {end} where it belongs");
    let (before, rest) = document.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(format!("{before}{begin}\n{}\n{end}{after}", text.trim_matches('\n')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_part_is_replaced() {
        let document =
            "a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n<!-- begin y -->\n<!-- end y -->\n";
        let new = replaced(document, "x", "\nnew\n").expect("there is a part x");
        assert_eq!(
            new,
            "a\n<!-- begin x -->\nnew\n<!-- end x -->\nb\n<!-- begin y -->\n<!-- end y -->\n"
        );
        assert_eq!(replaced(&new, "x", "new").expect("there is a part x"), new);
    }

    #[test]
    fn a_part_that_is_nowhere_is_said() {
        let error = replaced("text", "x", "new").expect_err("there is no part x");
        assert!(error.to_string().contains("<!-- begin x -->"), "{error}");
    }
}
