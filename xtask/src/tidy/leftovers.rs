//! Marks that an author leaves for later: none of them is committed.

use crate::finding::Finding;
use crate::tree::ProjectFile;

/// Put together from parts, so that a search for the marks does not find this table.
const MARKS: [(&str, &str); 8] = [
    (concat!("TO", "DO"), "finish it, or write it in the tracker"),
    (concat!("FIX", "ME"), "fix it"),
    (concat!("XX", "X"), "say what is meant"),
    (concat!("to", "do!("), "write the code"),
    (concat!("unimple", "mented!("), "write the code, or return an error that says why not"),
    (concat!("db", "g!("), "remove the debug print"),
    (concat!("not imple", "mented yet"), "write the code, or return an error that says why not"),
    (concat!("#[ign", "ore]"), "give the reason: #[ignore = \"…\"]"),
];

/// Languages in which the marks are looked for.
const EXTENSIONS: [&str; 8] = ["rs", "sol", "ts", "svelte", "mjs", "py", "sh", "toml"];

/// Finds leftover marks in source files.
pub(crate) fn check(files: &[ProjectFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|f| EXTENSIONS.contains(&f.extension())) {
        for (index, line) in file.text.lines().enumerate() {
            let found = MARKS.iter().filter(|(mark, _)| stands_alone(line, mark));
            findings.extend(found.map(|(mark, advice)| {
                Finding::at(&file.path, index, format!("leftover `{mark}`: {advice}"))
            }));
        }
    }
    findings
}

/// Whether `mark` occurs in `line` other than inside a longer word.
fn stands_alone(line: &str, mark: &str) -> bool {
    let in_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(mark).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + mark.len()..].chars().next();
        let ends_in_word = in_word(mark.chars().next_back());
        !(in_word(before) || ends_in_word && in_word(after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_is_found_and_longer_words_are_not() {
        for (mark, _) in MARKS {
            let file = ProjectFile::for_test("a.rs", &format!("\n    {mark} later\n"));
            let findings = check(&[file]);
            assert!(findings.iter().any(|f| f.place == "a.rs:2"), "{mark}");
            let longer = ProjectFile::for_test("a.rs", &format!("x{mark}"));
            assert_eq!(check(&[longer]), [], "{mark}");
        }
    }

    #[test]
    fn prose_may_speak_of_them() {
        let page = ProjectFile::for_test("docs/page.md", MARKS[0].0);
        assert_eq!(check(&[page]), []);
    }
}
