//! How long a source file and how large any file may be.

use crate::finding::Finding;
use crate::tree::ProjectFile;

/// Above this, a source file is more than one concept.
const SOURCE_LINES_MAX: usize = 600;

/// Languages that people write here.
const SOURCE_EXTENSIONS: [&str; 5] = ["rs", "sol", "ts", "svelte", "mjs"];

/// A committed file stays in the history for ever; larger ones need a reason.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Long source files that are one concept all the same: path, why.
const LONG_SOURCES: &[(&str, &str)] = &[];

/// Large files that belong in the history: path, why.
const LARGE_FILES: &[(&str, &str)] = &[(
    "models/nano/model.safetensors",
    "the base model of the demo and the tests, which run offline",
)];

/// Finds source files that are too long and files that are too large.
pub(crate) fn check(files: &[ProjectFile]) -> Vec<Finding> {
    files.iter().filter_map(too_long).chain(files.iter().filter_map(too_large)).collect()
}

fn too_long(file: &ProjectFile) -> Option<Finding> {
    let lines = file.text.lines().count();
    let is_source = SOURCE_EXTENSIONS.contains(&file.extension());
    if !is_source || lines <= SOURCE_LINES_MAX || listed(LONG_SOURCES, &file.path) {
        return None;
    }
    let message = format!("{lines} lines, more than {SOURCE_LINES_MAX}: split it by concept");
    Some(Finding::new(&file.path, message))
}

fn too_large(file: &ProjectFile) -> Option<Finding> {
    if file.bytes <= FILE_BYTES_MAX || listed(LARGE_FILES, &file.path) {
        return None;
    }
    let message = format!(
        "{} bytes, more than {FILE_BYTES_MAX}: keep it out of the history, or list it with its reason \
         in xtask/src/tidy/file_sizes.rs",
        file.bytes
    );
    Some(Finding::new(&file.path, message))
}

fn listed(exceptions: &[(&str, &str)], path: &str) -> bool {
    exceptions.iter().any(|(exception, _)| *exception == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_file_may_have_600_lines_and_not_601() {
        let longest = ProjectFile::for_test("a.rs", &"x\n".repeat(SOURCE_LINES_MAX));
        let too_long = ProjectFile::for_test("b.rs", &"x\n".repeat(SOURCE_LINES_MAX + 1));
        let prose = ProjectFile::for_test("c.md", &"x\n".repeat(SOURCE_LINES_MAX + 1));
        let findings = check(&[longest, too_long, prose]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].place, "b.rs");
    }

    #[test]
    fn a_large_file_needs_a_reason() {
        let large = |path: &str| ProjectFile {
            path: path.to_owned(),
            bytes: FILE_BYTES_MAX + 1,
            text: String::new(),
        };
        let findings = check(&[large("data.bin"), large("models/nano/model.safetensors")]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].place, "data.bin");
    }
}
