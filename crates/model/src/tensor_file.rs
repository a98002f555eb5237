//! Safetensors: what a file says it holds, checked before any of it is used, and its tensors as f32.
//!
//! ```text
//! length u64 │ header, JSON: name ─▶ type, shape, where │ the elements
//! ```
//!
//! **Invariant:** nothing is allocated for what a header claims before the claim is bounded by the file's size.
//! **Invariant:** no value that is not finite leaves here.

use crate::Named;
use crate::weight_files::from_bf16;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

/// Longest header that is parsed.
pub const HEADER_BYTES_MAX: u64 = 1 << 20;
/// Most tensors of one file.
pub const TENSORS_MAX: usize = 4096;
/// Most dimensions of a tensor.
const DIMENSIONS_MAX: usize = 8;
/// Bytes of the length before the header.
const LENGTH_BYTES: u64 = 8;
/// Elements that are read at once; bounds the memory beside the result.
const CHUNK: usize = 1 << 18;

/// The tensors of a file by name.
#[derive(Debug)]
pub(crate) struct Header {
    tensors: BTreeMap<String, Stored>,
    /// Where the elements begin.
    start: u64,
}

/// One tensor as the header describes it.
#[derive(Debug, Deserialize)]
struct Stored {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

/// Types that are read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Type {
    F32,
    Bf16,
    F16,
}

impl Stored {
    fn element(&self) -> Result<Type, String> {
        match self.dtype.as_str() {
            "F32" => Ok(Type::F32),
            "BF16" => Ok(Type::Bf16),
            "F16" => Ok(Type::F16),
            other => Err(format!("type {other} is not read; store BF16, F16 or F32")),
        }
    }
}

impl Type {
    fn bytes(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    fn widen(self, bytes: &[u8], to: &mut [f32]) {
        if self == Self::F32 {
            for (x, b) in to.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *x = f32::from_le_bytes(*b);
            }
        } else {
            let widen = if self == Self::Bf16 { from_bf16 } else { from_f16 };
            for (x, b) in to.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *x = widen(u16::from_le_bytes(*b));
            }
        }
    }
}

/// IEEE half precision as f32, exactly.
fn from_f16(x: u16) -> f32 {
    let sign = u32::from(x >> 15) << 31;
    let (exponent, mantissa) = (u32::from(x >> 10) & 0x1f, u32::from(x) & 0x3ff);
    let magnitude = match exponent {
        // Subnormal: a multiple of 2⁻²⁴.
        0 => (mantissa as f32 * f32::from_bits((127 - 24) << 23)).to_bits(),
        0x1f => 0x7f80_0000 | (mantissa << 13),
        _ => ((exponent + 112) << 23) | (mantissa << 13),
    };
    f32::from_bits(sign | magnitude)
}

impl Header {
    /// Reads the header of a file of `length` bytes.
    ///
    /// Errors, as text: a header over [`HEADER_BYTES_MAX`] or beyond the file, more than [`TENSORS_MAX`] tensors,
    /// a tensor whose place is not the size of its shape or overlaps another's.
    pub(crate) fn read(file: &mut impl Read, length: u64) -> Result<Self, String> {
        let mut prefix = [0; LENGTH_BYTES as usize];
        file.read_exact(&mut prefix).map_err(|_| "it is too short for a header".to_string())?;
        let bytes = u64::from_le_bytes(prefix);
        if bytes > HEADER_BYTES_MAX || bytes > length.saturating_sub(LENGTH_BYTES) {
            return Err(format!(
                "its header has {bytes} bytes, must be at most {HEADER_BYTES_MAX} and end in the file"
            ));
        }
        let mut json = vec![0; bytes as usize];
        file.read_exact(&mut json).map_err(|e| format!("its header cannot be read: {e}"))?;
        let mut all: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&json).map_err(|e| format!("its header is not JSON: {e}"))?;
        all.remove("__metadata__");
        if all.len() > TENSORS_MAX {
            return Err(format!("it has {} tensors, more than {TENSORS_MAX}", all.len()));
        }
        let start = LENGTH_BYTES + bytes;
        let mut tensors = BTreeMap::new();
        for (name, value) in all {
            let stored: Stored =
                serde_json::from_value(value).map_err(|e| format!("{name}: {e}"))?;
            stored.check(length - start).map_err(|why| format!("{name}: {why}"))?;
            tensors.insert(name, stored);
        }
        no_overlap(&tensors)?;
        Ok(Self { tensors, start })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|t| &t.shape[..])
    }

    /// Where the elements of a tensor of this shape stand in the file.
    fn place(&self, name: &str, shape: &[usize]) -> Result<(Type, Range<u64>), String> {
        let stored = self.tensors.get(name).ok_or("is missing")?;
        if stored.shape != shape {
            return Err(format!("shape {:?}, expected {shape:?}", stored.shape));
        }
        let [from, to] = stored.data_offsets;
        Ok((stored.element()?, self.start + from..self.start + to))
    }
}

impl Stored {
    fn check(&self, data_bytes: u64) -> Result<(), String> {
        let [from, to] = self.data_offsets;
        if from > to || to > data_bytes {
            return Err(format!("bytes {from} to {to} are outside the {data_bytes} of the file"));
        }
        if self.shape.len() > DIMENSIONS_MAX {
            return Err(format!("{} dimensions", self.shape.len()));
        }
        let Ok(element) = self.element() else { return Ok(()) };
        let count = self.shape.iter().try_fold(1u64, |n, x| n.checked_mul(*x as u64));
        let bytes = count.and_then(|n| n.checked_mul(element.bytes() as u64));
        if bytes != Some(to - from) {
            return Err(format!("shape {:?} does not fill bytes {from} to {to}", self.shape));
        }
        Ok(())
    }
}

fn no_overlap(tensors: &BTreeMap<String, Stored>) -> Result<(), String> {
    let mut places: Vec<(&str, [u64; 2])> =
        tensors.iter().map(|(name, t)| (name.as_str(), t.data_offsets)).collect();
    places.sort_unstable_by_key(|(_, place)| *place);
    match places.windows(2).find(|pair| pair[0].1[1] > pair[1].1[0]) {
        Some(pair) => Err(format!("{} and {} overlap", pair[0].0, pair[1].0)),
        None => Ok(()),
    }
}

/// An open file and what it holds.
#[derive(Debug)]
pub(crate) struct TensorFile<R> {
    file: R,
    pub(crate) header: Header,
}

impl TensorFile<File> {
    /// Errors: as text; the caller has checked the size.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let mut file = File::open(path).map_err(|e| e.to_string())?;
        let length = file.metadata().map_err(|e| e.to_string())?.len();
        let header = Header::read(&mut file, length)?;
        Ok(Self { file, header })
    }
}

impl<'a> TensorFile<std::io::Cursor<&'a [u8]>> {
    /// A file in memory. Errors: as text.
    pub(crate) fn from_bytes(bytes: &'a [u8]) -> Result<Self, String> {
        let mut file = std::io::Cursor::new(bytes);
        let header = Header::read(&mut file, bytes.len() as u64)?;
        Ok(Self { file, header })
    }
}

impl<R: Read + Seek> TensorFile<R> {
    /// Reads the tensor called `name` here into `to`. Errors, as text: it is missing, of another shape or type,
    /// or holds a value that is not finite.
    pub(crate) fn read(&mut self, name: &str, to: &mut Named<&mut [f32]>) -> Result<(), String> {
        let mut rest = &mut *to.data;
        self.read_chunks(name, &to.shape, |values| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(values.len());
            now.copy_from_slice(values);
            rest = later;
            Ok(())
        })
    }

    /// Gives the elements of a tensor in order, a piece at a time.
    pub(crate) fn read_chunks(
        &mut self,
        name: &str,
        shape: &[usize],
        mut take: impl FnMut(&[f32]) -> Result<(), String>,
    ) -> Result<(), String> {
        let (element, place) = self.header.place(name, shape)?;
        let failed = |e: std::io::Error| format!("cannot be read: {e}");
        self.file.seek(SeekFrom::Start(place.start)).map_err(failed)?;
        let mut left = (place.end - place.start) as usize / element.bytes();
        let mut bytes = vec![0; left.min(CHUNK) * element.bytes()];
        let mut values = vec![0.0; left.min(CHUNK)];
        while left > 0 {
            let n = left.min(CHUNK);
            let (bytes, values) = (&mut bytes[..n * element.bytes()], &mut values[..n]);
            self.file.read_exact(bytes).map_err(failed)?;
            element.widen(bytes, values);
            if values.iter().any(|x| !x.is_finite()) {
                return Err("holds a value that is not finite".into());
            }
            take(values)?;
            left -= n;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    #[test]
    fn half_precision_is_widened_exactly() {
        for bits in 0..=u16::MAX {
            let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
            let (exponent, mantissa) = (i32::from(bits >> 10) & 0x1f, f64::from(bits & 0x3ff));
            let truth = match exponent {
                0 => mantissa * 2f64.powi(-24),
                0x1f if mantissa == 0.0 => f64::INFINITY,
                0x1f => f64::NAN,
                _ => (1.0 + mantissa / 1024.0) * 2f64.powi(exponent - 15),
            };
            let found = f64::from(from_f16(bits));
            assert!(found == sign * truth || found.is_nan() && truth.is_nan(), "{bits:#x}");
        }
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let good = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}}"#;
        let bytes = file(good, 12);
        let mut values = [0.0; 6];
        let mut named = Named { name: "a".into(), shape: vec![2, 3], data: &mut values[..] };
        let mut read = TensorFile::from_bytes(&bytes).expect("good");
        assert_eq!(read.read("a", &mut named), Ok(()));
        for (header, data, named) in [
            (r#"{"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}}"#, 11, "outside"),
            (r#"{"a":{"dtype":"F16","shape":[2,4],"data_offsets":[0,12]}}"#, 12, "does not fill"),
            (
                r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#,
                12,
                "fill",
            ),
            (r#"{"a":{"dtype":"F16","shape":[1],"data_offsets":[12,10]}}"#, 12, "outside"),
            (r#"{"a":{"dtype":"F16","shape":[-1],"data_offsets":[0,2]}}"#, 12, "a: "),
            (
                r#"{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"F16","shape":[2],"data_offsets":[2,6]}}"#,
                12,
                "overlap",
            ),
            (
                r#"{"a":{"dtype":"F16","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,2]}}"#,
                12,
                "dimensions",
            ),
            ("[]", 0, "JSON"),
        ] {
            let bytes = file(header, data);
            let error = TensorFile::from_bytes(&bytes).expect_err(header);
            assert!(error.contains(named), "{header}: {error}");
        }
        let many: Vec<String> = (0..=TENSORS_MAX)
            .map(|i| format!(r#""{i}":{{"dtype":"F16","shape":[0],"data_offsets":[0,0]}}"#))
            .collect();
        let many = file(&format!("{{{}}}", many.join(",")), 0);
        let error = TensorFile::from_bytes(&many);
        assert!(error.expect_err("too many").contains("tensors"));
        let mut long = (HEADER_BYTES_MAX + 1).to_le_bytes().to_vec();
        long.resize(2 << 20, b' ');
        assert!(TensorFile::from_bytes(&long).expect_err("too long").contains("header"));
        assert!(TensorFile::from_bytes(&[0; 7]).is_err());
    }
}
