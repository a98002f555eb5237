//! A file as lines of bounded length, read as a stream.

use std::io::{BufRead, ErrorKind};

use crate::fingerprint::{Fingerprint, Running};
use crate::{Error, Limits};

/// Reads lines from a stream and takes the file's fingerprint on the way. At most
/// [`Limits::line_bytes`] of a line are kept, whatever its length.
pub(crate) struct Lines<R> {
    source: R,
    seen: Running,
    number: u64,
    line: Vec<u8>,
    file_bytes_max: u64,
    line_bytes_max: usize,
}

/// One line without its line end.
pub(crate) struct Line<'a> {
    /// From 1.
    pub(crate) number: u64,
    /// The line, or its beginning where it is too long.
    pub(crate) bytes: &'a [u8],
    pub(crate) too_long: bool,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(source: R, limits: &Limits) -> Self {
        Self {
            source,
            seen: Running::default(),
            number: 0,
            line: Vec::new(),
            file_bytes_max: limits.file_bytes,
            line_bytes_max: limits.line_bytes,
        }
    }

    /// The next line, or `None` at the end of the file.
    ///
    /// Errors: [`Error::Read`], [`Error::FileTooLarge`], [`Error::Utf16`].
    pub(crate) fn next_line(&mut self) -> Result<Option<Line<'_>>, Error> {
        self.line.clear();
        let (mut length, mut ended) = (0u64, false);
        // One byte more than a line may have, for the \r of a line end.
        let kept_max = self.line_bytes_max.saturating_add(1);
        while !ended {
            let chunk = match self.source.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::Read(error)),
            };
            if chunk.is_empty() {
                break;
            }
            let newline = chunk.iter().position(|byte| *byte == b'\n');
            let taken = newline.map_or(chunk.len(), |at| at + 1);
            if self.seen.bytes() + taken as u64 > self.file_bytes_max {
                return Err(Error::FileTooLarge { limit: self.file_bytes_max });
            }
            let text = &chunk[..newline.unwrap_or(chunk.len())];
            let room = kept_max - self.line.len();
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            length += text.len() as u64;
            self.seen.update(&chunk[..taken]);
            self.source.consume(taken);
            ended = newline.is_some();
        }
        if length == 0 && !ended {
            return Ok(None);
        }
        self.number += 1;
        let mut start = 0;
        if self.number == 1 {
            if self.line.starts_with(b"\xFF\xFE") || self.line.starts_with(b"\xFE\xFF") {
                return Err(Error::Utf16);
            }
            if self.line.starts_with(b"\xEF\xBB\xBF") {
                start = 3;
            }
        }
        if length == self.line.len() as u64 && self.line.ends_with(b"\r") {
            self.line.pop();
            length -= 1;
        }
        let bytes = &self.line[start.min(self.line.len())..];
        let too_long = length - start as u64 > self.line_bytes_max as u64;
        Ok(Some(Line { number: self.number, bytes, too_long }))
    }

    /// Fingerprint of what was read. To be called after the last line.
    pub(crate) fn fingerprint(self) -> Fingerprint {
        self.seen.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::BufReader;

    fn read(bytes: &[u8], chunk: usize, limits: &Limits) -> Result<Vec<(Vec<u8>, bool)>, Error> {
        let mut lines = Lines::new(BufReader::with_capacity(chunk, bytes), limits);
        let mut out = Vec::new();
        while let Some(line) = lines.next_line()? {
            assert_eq!(line.number, out.len() as u64 + 1);
            out.push((line.bytes.to_vec(), line.too_long));
        }
        assert_eq!(lines.fingerprint(), Fingerprint::of(bytes));
        Ok(out)
    }

    #[test]
    fn line_ends_and_a_byte_order_mark_are_not_part_of_a_line() {
        let lines = read(b"\xEF\xBB\xBFa\r\nb\n\nc\r\r\nd", 3, &Limits::default()).unwrap();
        let texts: Vec<&[u8]> = lines.iter().map(|(bytes, _)| &bytes[..]).collect();
        assert_eq!(texts, [&b"a"[..], b"b", b"", b"c\r", b"d"]);
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_whole() {
        let limits = Limits { line_bytes: 4, ..Limits::default() };
        let lines = read(b"12345678\n1234\r\n12345\nx", 2, &limits).unwrap();
        let flags: Vec<bool> = lines.iter().map(|(_, too_long)| *too_long).collect();
        assert_eq!(flags, [true, false, true, false]);
        assert_eq!(lines[0].0.len(), 5);
        assert_eq!(lines[1].0, b"1234");
    }

    #[test]
    fn a_file_over_its_limit_is_refused() {
        let limits = Limits { file_bytes: 5, ..Limits::default() };
        assert!(read(b"ab\ncd", 2, &limits).is_ok());
        assert!(matches!(read(b"ab\ncd\n", 2, &limits), Err(Error::FileTooLarge { limit: 5 })));
    }

    #[test]
    fn utf_16_is_named_as_such() {
        assert!(matches!(read(b"\xFF\xFEa\0", 8, &Limits::default()), Err(Error::Utf16)));
    }

    proptest! {
        #[test]
        fn chunk_sizes_do_not_matter(bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..60), chunk in 1usize..9) {
            let limits = Limits { line_bytes: 8, ..Limits::default() };
            let (small, whole) = (read(&bytes, chunk, &limits), read(&bytes, 64, &limits));
            match (small, whole) {
                (Ok(small), Ok(whole)) => prop_assert_eq!(small, whole),
                (small, whole) => prop_assert!(small.is_err() && whole.is_err()),
            }
        }
    }
}
