//! How much one file may hold.

const MIB: u64 = 1 << 20;

/// Bounds on one ingested file. Each is checked before the bytes it limits are parsed or kept.
///
/// The first four end the reading of a file with an [`Error`](crate::Error); the others reject one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole file. Default 512 MiB, the limit of the OpenAI files API.
    pub file_bytes: u64,
    /// Good rows. Default 1,000,000.
    pub records: usize,
    /// Different contributors. Default 10,000.
    pub contributors: usize,
    /// Bad rows that are listed one by one; the rest are counted. Default 1,000.
    pub bad_rows_listed: usize,
    /// Bytes of one line without its line end. Default 4 MiB.
    pub line_bytes: usize,
    /// UTF-8 bytes of one text, as given and again in canonical form. Default 1 MiB.
    pub field_bytes: usize,
    /// Messages in one row. Default 256.
    pub messages: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 512 * MIB,
            records: 1_000_000,
            contributors: 10_000,
            bad_rows_listed: 1_000,
            line_bytes: 4 << 20,
            field_bytes: 1 << 20,
            messages: 256,
        }
    }
}
