//! A contributor's JSONL file as rows: the good ones kept, the bad ones listed.

use std::collections::{BTreeMap, HashSet};
use std::io::BufRead;

use openledger_primitives::Address;
use serde::Serialize;

use crate::fingerprint::Fingerprint;
use crate::lines::{Line, Lines};
use crate::{Canonical, Contributor, Error, FieldMapping, Limits, Row, RowError, json, row};

/// Bytes of a bad line that are shown.
pub const EXCERPT_BYTES_MAX: usize = 120;

/// How a file is to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IngestOptions {
    /// Which fields hold what.
    pub mapping: FieldMapping,
    /// Owner of rows that name none.
    pub default_contributor: Option<Contributor>,
    /// How much is taken.
    pub limits: Limits,
}

/// A row that was not taken, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadRow {
    /// Line in the file, from 1.
    pub line: u64,
    /// Byte in the line, from 1, where that is known.
    pub column: Option<usize>,
    /// Stable name of the fault, [`RowError::code`].
    pub code: &'static str,
    /// What is wrong, in words.
    pub reason: String,
    /// The beginning of the line, printable, at most [`EXCERPT_BYTES_MAX`] bytes.
    pub excerpt: String,
}

/// The rows that were not taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// How many there are.
    pub total: u64,
    /// The first of them, [`Limits::bad_rows_listed`] at most.
    pub listed: Vec<BadRow>,
    /// How many there are of each code.
    pub by_code: BTreeMap<&'static str, u64>,
}

/// What a file gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingest {
    /// The good rows in the order of the file, duplicates included.
    pub rows: Vec<Row>,
    /// The bad rows.
    pub rejected: Rejected,
    /// Lines with nothing but white space, passed over.
    pub blank_lines: u64,
    /// The file itself.
    pub source: Fingerprint,
    /// Names of contributors whose wallet was given by [`assign_wallets`](Self::assign_wallets).
    pub labels: BTreeMap<Address, String>,
}

/// Reads JSONL: one object per line, with a prompt and a completion or with messages in the OpenAI chat
/// format, and optionally its contributor.
///
/// A byte order mark, `\r\n` line ends and blank lines are accepted. The file is read as a stream; one
/// line of at most [`Limits::line_bytes`] is held at a time.
///
/// Errors: [`Error::Read`], [`Error::FileTooLarge`], [`Error::TooManyRecords`],
/// [`Error::TooManyContributors`], [`Error::Utf16`]. A malformed row is no error; it is in
/// [`Ingest::rejected`].
pub fn read_jsonl(source: impl BufRead, options: &IngestOptions) -> Result<Ingest, Error> {
    let limits = &options.limits;
    let mut lines = Lines::new(source, limits);
    let (mut rows, mut rejected, mut blank_lines) = (Vec::new(), Rejected::default(), 0);
    let mut contributors = HashSet::new();
    while let Some(line) = lines.next_line()? {
        if line.bytes.iter().all(u8::is_ascii_whitespace) && !line.too_long {
            blank_lines += 1;
            continue;
        }
        match read_line(&line, options) {
            Ok((contributor, canonical)) => {
                if rows.len() == limits.records {
                    return Err(Error::TooManyRecords { limit: limits.records });
                }
                if contributors.insert(contributor.clone())
                    && contributors.len() > limits.contributors
                {
                    return Err(Error::TooManyContributors { limit: limits.contributors });
                }
                rows.push(Row { line: line.number, contributor, canonical });
            }
            Err((fault, column)) => rejected.add(&line, &fault, column, limits),
        }
    }
    let source = lines.fingerprint();
    Ok(Ingest { rows, rejected, blank_lines, source, labels: BTreeMap::new() })
}

type LineFault = (RowError, Option<usize>);

fn read_line(
    line: &Line<'_>,
    options: &IngestOptions,
) -> Result<(Contributor, Canonical), LineFault> {
    let limits = &options.limits;
    if line.too_long {
        return Err((RowError::LineTooLong { limit: limits.line_bytes }, None));
    }
    let text = std::str::from_utf8(line.bytes)
        .map_err(|error| (RowError::InvalidUtf8, Some(error.valid_up_to() + 1)))?;
    let json = json::parse(text)?;
    row::read(&json, &options.mapping, options.default_contributor.as_ref(), limits)
        .map_err(|fault| (fault, None))
}

impl Rejected {
    fn add(&mut self, line: &Line<'_>, fault: &RowError, column: Option<usize>, limits: &Limits) {
        self.total += 1;
        *self.by_code.entry(fault.code()).or_default() += 1;
        if self.listed.len() < limits.bad_rows_listed {
            self.listed.push(BadRow {
                line: line.number,
                column,
                code: fault.code(),
                reason: fault.to_string(),
                excerpt: excerpt(line.bytes),
            });
        }
    }
}

/// The beginning of `bytes` as printable text. Control characters become U+FFFD, so that a hostile line
/// cannot steer the terminal it is shown on.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(EXCERPT_BYTES_MAX)]);
    let mut out = String::new();
    for c in text.chars() {
        let hidden = c.is_control() || crate::duplicate_key::is_default_ignorable(c);
        let c = if hidden { char::REPLACEMENT_CHARACTER } else { c };
        if out.len() + c.len_utf8() > EXCERPT_BYTES_MAX {
            break;
        }
        out.push(c);
    }
    out
}

impl Ingest {
    /// Puts a wallet in the place of every named contributor and keeps the name as its label. Two names
    /// may have one wallet; they are then one contributor, labelled with the name that comes first in
    /// the file.
    ///
    /// Errors: [`Error::NoWallet`] if a name is not in `wallets`; nothing is changed then.
    pub fn assign_wallets(&mut self, wallets: &BTreeMap<String, Address>) -> Result<(), Error> {
        let wallet_of = |contributor: &Contributor| match contributor {
            Contributor::Wallet(address) => Ok(*address),
            Contributor::Name(name) => wallets
                .get(name.as_str())
                .copied()
                .ok_or_else(|| Error::NoWallet { name: name.as_str().to_owned() }),
        };
        let addresses = self
            .rows
            .iter()
            .map(|row| wallet_of(&row.contributor))
            .collect::<Result<Vec<_>, _>>()?;
        for (row, address) in self.rows.iter_mut().zip(addresses) {
            if let Contributor::Name(name) = &row.contributor {
                self.labels.entry(address).or_insert_with(|| name.as_str().to_owned());
            }
            row.contributor = Contributor::Wallet(address);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
