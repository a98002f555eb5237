//! A disk in memory that fails when it is told to, and remembers what a power cut would leave.

use std::{
    io,
    sync::{Mutex, MutexGuard},
};

use super::file::LogFile;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The operation fails and does nothing.
    Nothing,
    /// A write fails when half of it is written. Other operations fail and do nothing.
    Half,
}

#[derive(Default)]
struct State {
    live: Vec<u8>,
    synced: Vec<u8>,
    operations: usize,
    fault: Option<(usize, Fault)>,
}

/// A disk in memory.
#[derive(Default)]
pub(crate) struct TestDisk(Mutex<State>);

impl TestDisk {
    /// A disk that holds `bytes`, durably.
    pub(crate) fn holding(bytes: Vec<u8>) -> Self {
        let state = State { live: bytes.clone(), synced: bytes, ..State::default() };
        Self(Mutex::new(state))
    }

    /// Lets the nth changing operation from now on go wrong, once.
    pub(crate) fn fail(&self, nth: usize, fault: Fault) {
        let mut state = self.state();
        state.fault = Some((state.operations + nth, fault));
    }

    /// What may be on the disk after a power cut: all that was synced, and any part of the rest.
    pub(crate) fn crash_images(&self) -> Vec<Vec<u8>> {
        let state = self.state();
        let (synced, live) = (state.synced.clone(), state.live.clone());
        let mut images = vec![synced.clone(), live.clone()];
        if live.len() > synced.len() {
            let unsynced = live.len() - synced.len();
            for part in 1..8 {
                images.push(live[..synced.len() + unsynced * part / 8].to_vec());
            }
            // The file was made longer, but its new bytes were not written.
            let mut zeros = synced.clone();
            zeros.resize(live.len(), 0);
            images.push(zeros.clone());
            // Only the second half of the new bytes was.
            zeros[synced.len() + unsynced / 2..]
                .copy_from_slice(&live[synced.len() + unsynced / 2..]);
            images.push(zeros);
        }
        images
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Counts an operation; the fault if it is its turn.
    fn turn(state: &mut State) -> Option<Fault> {
        let now = state.operations;
        state.operations += 1;
        let (_, fault) = state.fault.take_if(|(at, _)| *at == now)?;
        Some(fault)
    }
}

impl LogFile for TestDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().live.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.state();
        let from = usize::try_from(offset).unwrap();
        let bytes = state.live.get(from..from + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state();
        let fault = Self::turn(&mut state);
        let bytes = match fault {
            None => bytes,
            Some(Fault::Nothing) => &[],
            Some(Fault::Half) => &bytes[..bytes.len() / 2],
        };
        let offset = usize::try_from(offset).unwrap();
        let end = offset + bytes.len();
        if state.live.len() < end {
            state.live.resize(end, 0);
        }
        state.live[offset..end].copy_from_slice(bytes);
        fault.map_or(Ok(()), |_| Err(io::ErrorKind::StorageFull.into()))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        if Self::turn(&mut state).is_some() {
            return Err(io::ErrorKind::Other.into());
        }
        state.live.truncate(usize::try_from(len).unwrap());
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        if Self::turn(&mut state).is_some() {
            return Err(io::ErrorKind::Other.into());
        }
        state.synced = state.live.clone();
        Ok(())
    }
}
