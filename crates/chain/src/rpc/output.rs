//! Answers that could be large: written within a limit.

use std::io;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    error::{RpcResult, internal, stopped},
    limits::TRACE_BYTES_MAX,
};
use crate::execution::Exceeded;

/// `answer` as JSON of at most [`TRACE_BYTES_MAX`] bytes.
///
/// Errors: -32005 if it is larger.
pub(super) fn json(answer: &impl Serialize) -> RpcResult<Box<RawValue>> {
    json_within(answer, TRACE_BYTES_MAX)
}

/// `answer` as JSON of at most `bytes_max` bytes.
pub(super) fn json_within(answer: &impl Serialize, bytes_max: usize) -> RpcResult<Box<RawValue>> {
    let mut sink = Bounded { bytes: Vec::new(), bytes_max, full: false };
    let written = serde_json::to_writer(&mut sink, answer);
    if sink.full {
        return Err(stopped(Exceeded::Bytes(bytes_max)));
    }
    written.map_err(internal)?;
    let text = String::from_utf8(sink.bytes).map_err(internal)?;
    RawValue::from_string(text).map_err(internal)
}

struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
    full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + part.len() > self.bytes_max {
            self.full = true;
            return Err(io::Error::other("the answer is larger than the limit"));
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_at_the_limit_is_given_and_a_larger_one_refused() {
        assert_eq!(json_within(&"abc", 5).unwrap().get(), "\"abc\"");
        let error = json_within(&"abcd", 5).unwrap_err();
        assert_eq!(error.code(), -32005);
        assert!(error.message().contains("larger than 5 bytes"), "{error}");
    }
}
