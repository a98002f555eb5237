//! The packed adapter file: what serving reads, in the order in which it reads it.
//!
//! ```text
//! magic │ version │ form │ layers │ adapter hash │ base hash │ XXH3-64 of all that follows
//!   then for each layer, for q k v, o, gate up, down: inputs, number of sites,
//!        and for each site rank, first output, outputs, scale
//!   padded to 64 bytes │ the matrices of each layer and group, one after the other
//! ```
//!
//! Integers are u32, little-endian. Files are written once and mapped; they are never changed in place.
//!
//! **Invariant:** sizes follow from the header, and no more is believed than the file is long.

use crate::weight_files::write_whole;
use crate::{Error, RANK_MAX};
use openledger_tensor::{LowRankForm, LowRankShape, LowRankSite, PackedBytes};
use std::fs::File;
use std::path::Path;
use twox_hash::XxHash3_64;

const MAGIC: &[u8; 8] = b"OLadaptr";
const VERSION: u32 = 2;
/// Where the hash of the base stands, then the checksum of what follows it, then the sites.
const BASE_AT: usize = 20 + 32;
const CHECKSUM_AT: usize = BASE_AT + 32;
const SITES_AT: usize = CHECKSUM_AT + 8;
/// The matrices begin at a multiple of this.
const ALIGNED: usize = 64;

/// Limits of what a header may ask for, those of a model's shape.
const LAYERS_MAX: u32 = 256;
const SITES_MAX: u32 = 3;
const INPUTS_MAX: u32 = 1 << 17;
const OUTPUTS_MAX: u32 = 1 << 20;
/// Largest packed file that is mapped.
const PACKED_BYTES_MAX: u64 = 8 << 30;

/// What a packed file says of itself.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) form: LowRankForm,
    pub(super) hash: [u8; 32],
    /// Hash of the base; zero where it was not saved.
    pub(super) base: [u8; 32],
    /// [layer][group].
    pub(super) groups: Vec<[LowRankShape; 4]>,
}

impl Header {
    /// Bytes before the matrices.
    pub(super) fn bytes(&self) -> usize {
        let group = |shape: &LowRankShape| 8 + 16 * shape.sites().len();
        let groups: usize = self.groups.iter().flatten().map(group).sum();
        (SITES_AT + groups).next_multiple_of(ALIGNED)
    }
}

fn refuse(why: &str) -> Error {
    Error::Adapter(format!("the packed file {why}"))
}

/// Writes the header in front of the matrices, which begin at `start` and are in place.
pub(super) fn write_header(header: &Header, file: &mut [u8], start: usize) {
    let form: u32 = match header.form {
        LowRankForm::Bf16 => 0,
        LowRankForm::Int8 => 1,
    };
    let mut to = Vec::with_capacity(start);
    to.extend_from_slice(MAGIC);
    for number in [VERSION, form, header.groups.len() as u32] {
        to.extend(number.to_le_bytes());
    }
    to.extend(header.hash);
    to.extend(header.base);
    to.extend([0; 8]);
    for shape in header.groups.iter().flatten() {
        for number in [shape.inputs(), shape.sites().len()] {
            to.extend((number as u32).to_le_bytes());
        }
        for site in shape.sites() {
            for number in [site.rank, site.offset, site.outputs] {
                to.extend((number as u32).to_le_bytes());
            }
            to.extend(site.scale.to_le_bytes());
        }
    }
    file[..to.len()].copy_from_slice(&to);
    put_checksum(file);
}

/// Tells damage, not forgery: whoever may write the file may write an adapter. Every first request waits for it.
fn checksum(file: &[u8]) -> [u8; 8] {
    XxHash3_64::oneshot(&file[SITES_AT..]).to_le_bytes()
}

fn put_checksum(file: &mut [u8]) {
    let checksum = checksum(file);
    file[CHECKSUM_AT..SITES_AT].copy_from_slice(&checksum);
}

/// Maps a file of at most [`PACKED_BYTES_MAX`].
pub(super) fn map(path: &Path) -> Result<PackedBytes, Error> {
    let file = File::open(path).map_err(Error::file(path))?;
    let bytes = file.metadata().map_err(Error::file(path))?.len();
    if bytes > PACKED_BYTES_MAX {
        return Err(Error::TooLarge { path: path.into(), bytes, max: PACKED_BYTES_MAX });
    }
    if bytes == 0 {
        return Err(refuse("is empty"));
    }
    PackedBytes::map(&file).map_err(Error::file(path))
}

/// Reads what stands before the matrices.
pub(super) fn read_header(file: &[u8]) -> Result<Header, Error> {
    let mut reader = Reader { rest: file };
    if reader.take::<8>()? != *MAGIC {
        return Err(refuse("does not begin as one"));
    }
    let version = reader.number(u32::MAX)?;
    if version != VERSION {
        return Err(refuse(&format!(
            "has version {version}, this program reads {VERSION}; pack the adapter again"
        )));
    }
    let form = match reader.number(u32::MAX)? {
        0 => LowRankForm::Bf16,
        1 => LowRankForm::Int8,
        other => return Err(refuse(&format!("has the unknown form {other}"))),
    };
    let layers = reader.number(LAYERS_MAX)?;
    let (hash, base) = (reader.take()?, reader.take()?);
    reader.take::<8>()?;
    let mut groups = Vec::with_capacity(layers as usize);
    for _ in 0..layers {
        let mut layer = Vec::with_capacity(4);
        for _ in 0..4 {
            layer.push(group(form, &mut reader)?);
        }
        groups.push(layer.try_into().expect("four were pushed"));
    }
    Ok(Header { form, hash, base, groups })
}

fn group(form: LowRankForm, reader: &mut Reader<'_>) -> Result<LowRankShape, Error> {
    let (inputs, count) = (reader.number(INPUTS_MAX)?, reader.number(SITES_MAX)?);
    let mut sites = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let rank = reader.number(RANK_MAX as u32)? as usize;
        let offset = reader.number(OUTPUTS_MAX)? as usize;
        let outputs = reader.number(OUTPUTS_MAX)? as usize;
        let scale = f32::from_le_bytes(reader.take()?);
        if rank == 0 || outputs == 0 || inputs == 0 || !scale.is_finite() {
            return Err(refuse("has a site without size, or a scale that is not finite"));
        }
        sites.push(LowRankSite { rank, offset, outputs, scale });
    }
    Ok(LowRankShape::new(form, inputs as usize, &sites))
}

/// Checks a file whose matrices begin at `start` and end at `len`.
pub(super) fn check(file: &[u8], start: usize, len: usize) -> Result<(), Error> {
    if file.len() != len || start > len {
        return Err(refuse(&format!("has {} bytes, its header asks for {len}", file.len())));
    }
    if checksum(file) != file[CHECKSUM_AT..SITES_AT] {
        return Err(refuse("is damaged: its content has another checksum; pack the adapter again"));
    }
    Ok(())
}

/// Makes the checksum of a file right, whatever it holds, so that fuzzing gets past it.
#[cfg(any(test, fuzzing))]
pub(crate) fn sign(file: &mut [u8]) {
    if file.len() >= SITES_AT {
        put_checksum(file);
    }
}

/// Writes a file for a base, whole or not at all.
pub(super) fn save(path: &Path, file: &[u8], base: [u8; 32]) -> Result<(), Error> {
    let mut all = file.to_vec();
    all[BASE_AT..CHECKSUM_AT].copy_from_slice(&base);
    write_whole(path, &all)
}

/// What is left of a header.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (first, rest) = self.rest.split_first_chunk().ok_or_else(|| refuse("is cut short"))?;
        self.rest = rest;
        Ok(*first)
    }

    fn number(&mut self, max: u32) -> Result<u32, Error> {
        let number = u32::from_le_bytes(self.take()?);
        if number > max {
            return Err(refuse(&format!("asks for {number} where at most {max} is possible")));
        }
        Ok(number)
    }
}
