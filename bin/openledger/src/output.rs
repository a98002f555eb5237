use std::io::Write;

/// How a command speaks.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// One JSON document on stdout instead of text.
    pub json: bool,
}

/// Writes a line of data to stdout. A reader that went away (`| head`) ends nothing but the output.
pub fn print(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// Writes a line about what is going on to stderr.
pub fn tell(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}
