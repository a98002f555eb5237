//! Bytes that kernels read in place: in memory of their own, or mapped from a file.

use std::fs::File;
use std::io;
use std::ops::Deref;

/// Bytes of a cache line, at which the memory begins.
const LINE: usize = 64;

/// Read-only bytes that begin at a cache line.
#[derive(Debug)]
pub struct PackedBytes(Inner);

#[derive(Debug)]
enum Inner {
    Owned { lines: Vec<Line>, len: usize },
    Mapped(memmap2::Mmap),
}

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; LINE]);

impl PackedBytes {
    /// `len` bytes that `fill` writes; they are zero before.
    pub fn new(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut lines = vec![Line([0; LINE]); len.div_ceil(LINE)];
        // SAFETY: the lines are `len` initialised bytes or more, without padding, and borrowed here alone.
        fill(unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), len) });
        Self(Inner::Owned { lines, len })
    }

    /// Maps a whole file. Pages are read as they are touched, and the system may drop them again.
    ///
    /// The file must not change as long as the map lives: packed files are written once, under a name of their
    /// own, and replaced by renaming. Where it is cut short all the same, a read of the missing part ends the
    /// process. Errors: what the system says; a platform without maps.
    pub fn map(file: &File) -> io::Result<Self> {
        // SAFETY: a change of the file under the map would be a data race; that files are not changed in
        // place is the condition named above. Nothing is read but bytes, for which every value is valid.
        Ok(Self(Inner::Mapped(unsafe { memmap2::Mmap::map(file) }?)))
    }

    /// Whether the bytes are a map of a file.
    pub fn is_mapped(&self) -> bool {
        matches!(self.0, Inner::Mapped(_))
    }
}

impl Deref for PackedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            // SAFETY: as in `new`.
            Inner::Owned { lines, len } => unsafe {
                std::slice::from_raw_parts(lines.as_ptr().cast(), *len)
            },
            Inner::Mapped(map) => map,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_shows_what_was_written() {
        let path = std::env::temp_dir().join(format!("openledger-packed-{}", std::process::id()));
        std::fs::write(&path, [7; 100]).expect("a temporary file");
        let mapped = PackedBytes::map(&File::open(&path).expect("was written"));
        std::fs::remove_file(&path).expect("was written");
        let mapped = mapped.expect("a map");
        assert!(mapped.is_mapped() && *mapped == [7; 100]);
        let owned = PackedBytes::new(100, |to| to[99] = 1);
        assert!(!owned.is_mapped() && owned.len() == 100 && owned[99] == 1 && owned[98] == 0);
        assert!(owned.as_ptr().cast::<Line>().is_aligned());
    }
}
