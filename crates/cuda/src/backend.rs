//! Memory and launches: all that the decoder asks of a device.
//!
//! Two things implement it: the CUDA driver, and in tests a device that the processor plays.

use crate::Error;
use crate::driver::{Plain, bytes_of, bytes_of_mut};
use std::fmt::Debug;
use std::sync::Arc;

/// A kernel and the threads of its blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    pub(crate) name: &'static str,
    pub(crate) threads: u32,
}

/// A device. Work is done in the order in which it is asked for; reading waits for all before it.
pub(crate) trait Backend: Debug + Send + Sync {
    /// Takes memory, zeroed. Errors: [`Error::Memory`].
    fn allocate(&self, bytes: usize) -> Result<u64, Error>;
    /// Gives back what [`Self::allocate`] gave.
    fn release(&self, address: u64);
    /// Copies to the device.
    fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Error>;
    /// Copies from the device, when everything asked for before is done.
    fn read(&self, address: u64, to: &mut [u8]) -> Result<(), Error>;
    /// Runs a kernel. The callers, all in `kernels`, see to it that its memory is there.
    fn launch(&self, kernel: Kernel, grid: [usize; 3], arguments: &Arguments) -> Result<(), Error>;
    /// Bytes that are not taken.
    fn free_bytes(&self) -> Result<usize, Error>;
}

/// Memory on a device.
#[derive(Debug)]
pub(crate) struct Buffer {
    backend: Arc<dyn Backend>,
    address: u64,
    bytes: usize,
}

impl Buffer {
    /// Of so many bytes, zeroed.
    pub(crate) fn new(backend: &Arc<dyn Backend>, bytes: usize) -> Result<Self, Error> {
        let address = backend.allocate(bytes.max(1))?;
        Ok(Self { backend: Arc::clone(backend), address, bytes })
    }

    /// With this content.
    pub(crate) fn of<T: Plain>(backend: &Arc<dyn Backend>, content: &[T]) -> Result<Self, Error> {
        let buffer = Self::new(backend, size_of_val(content))?;
        buffer.write(0, content)?;
        Ok(buffer)
    }

    /// Replaces elements from `at` on. Panics if they do not fit.
    pub(crate) fn write<T: Plain>(&self, at: usize, content: &[T]) -> Result<(), Error> {
        let from = at * size_of::<T>();
        assert!(from + size_of_val(content) <= self.bytes, "more than the device's buffer holds");
        if content.is_empty() {
            return Ok(());
        }
        self.backend.write(self.address + from as u64, bytes_of(content))
    }

    /// Reads elements from the beginning. Panics if there are not so many.
    pub(crate) fn read<T: Plain>(&self, to: &mut [T]) -> Result<(), Error> {
        assert!(size_of_val(to) <= self.bytes, "more than the device's buffer holds");
        if to.is_empty() {
            return Ok(());
        }
        self.backend.read(self.address, bytes_of_mut(to))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// Its address, after a look at its size. Panics if it holds fewer than `elements` of T.
    pub(crate) fn holding<T>(&self, elements: usize) -> u64 {
        let needed = elements * size_of::<T>();
        assert!(needed <= self.bytes, "a buffer of {} bytes where {needed} are needed", self.bytes);
        self.address
    }

    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.backend.release(self.address);
    }
}

/// Memory that grows to what is asked of it; growing loses the content.
#[derive(Debug)]
pub(crate) struct Scratch(Buffer);

impl Scratch {
    pub(crate) fn new(backend: &Arc<dyn Backend>) -> Result<Self, Error> {
        Buffer::new(backend, 0).map(Self)
    }

    /// Room for `elements` of T.
    pub(crate) fn room<T>(&mut self, elements: usize) -> Result<&Buffer, Error> {
        let bytes = elements * size_of::<T>();
        if self.0.bytes() < bytes {
            let backend = Arc::clone(self.0.backend());
            // The old memory goes first, so that both need not fit.
            self.0 = Buffer::new(&backend, 0)?;
            self.0 = Buffer::new(&backend, bytes.next_power_of_two())?;
        }
        Ok(&self.0)
    }

    /// Room filled with this content.
    pub(crate) fn fill<T: Plain>(&mut self, content: &[T]) -> Result<&Buffer, Error> {
        self.room::<T>(content.len())?.write(0, content)?;
        Ok(&self.0)
    }

    /// What was made room for last.
    pub(crate) fn get(&self) -> &Buffer {
        &self.0
    }
}

/// The fields of a kernel's argument, as C lays them out: addresses first, then numbers of four bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arguments {
    words: [u64; 16],
    bytes: usize,
}

impl Arguments {
    /// An address.
    pub(crate) fn at(mut self, address: u64) -> Self {
        assert!(self.bytes.is_multiple_of(8), "addresses come first");
        self.words[self.bytes / 8] = address;
        self.bytes += 8;
        self
    }

    /// A count. Panics if it exceeds 32 bits.
    pub(crate) fn n(self, x: usize) -> Self {
        self.four_bytes(u32::try_from(x).expect("counts on a device have 32 bits"))
    }

    /// A float.
    pub(crate) fn f(self, x: f32) -> Self {
        self.four_bytes(x.to_bits())
    }

    fn four_bytes(mut self, x: u32) -> Self {
        self.words[self.bytes / 8] |= u64::from(x) << (self.bytes % 8 * 8);
        self.bytes += 4;
        self
    }

    pub(crate) fn words(&self) -> &[u64; 16] {
        &self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_lie_as_in_c() {
        let arguments = Arguments::default().at(7).n(1).n(2).f(1.0);
        let expected = [7, 1 | 2 << 32, u64::from(1.0f32.to_bits())];
        assert_eq!(&arguments.words()[..4], &[expected[0], expected[1], expected[2], 0]);
    }
}
