//! A training state as bytes and as a file.
//!
//! Layout, integers and floats little-endian: the line `openledger lora checkpoint 1`; the hashes of base,
//! recipe and data; step u64, powers of beta1 and beta2 f64; values, first and second moments f32; the
//! trace, 32 bytes an entry; losses f32, one a step; SHA-256 of all that. Lengths follow from recipe and
//! step.

use crate::durable_file::write_durably;
use crate::train_error::TrainError;
use crate::training_run::TrainingRun;
use crate::training_state::TrainingState;
use sha2::{Digest, Sha256};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// First line of a checkpoint, without its version.
const NAME: &[u8] = b"openledger lora checkpoint ";
const VERSION: &[u8] = b"1\n";

/// Bytes before the floats: name, version, three hashes, step, two powers.
const HEAD: usize = NAME.len() + VERSION.len() + 3 * 32 + 3 * 8;

/// Where and how often a run is kept so that it can go on after any end, even `kill -9`.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    /// The file of a run, or the folder of a design with one file per run. Deleted by nobody.
    pub path: PathBuf,
    /// Steps between two checkpoints, which is the most that can be lost.
    pub every: usize,
    /// Whether the state of every entry of the trace is kept too, in [`states_folder`] beside the file:
    /// what an auditor starts a segment from.
    pub states: bool,
}

/// Folder of the states of a run whose checkpoint is `path`.
pub fn states_folder(path: &Path) -> PathBuf {
    path.with_extension("states")
}

/// File of the state after `step` steps in a folder of states.
pub fn state_file(folder: &Path, step: usize) -> PathBuf {
    folder.join(format!("{step:07}.state"))
}

impl Checkpoints {
    /// Those of one run of a design.
    pub fn of_run(&self, run: usize) -> Self {
        let path = self.path.join(format!("run-{run}.checkpoint"));
        Self { path, every: self.every, states: self.states }
    }

    /// Takes a run for this process, as long as the file that is returned is open; `None` if another process
    /// has it and `wait` is false. An end of any kind gives it back, `kill -9` included.
    ///
    /// Errors: [`TrainError::File`].
    pub(crate) fn claim(&self, wait: bool) -> Result<Option<File>, TrainError> {
        let path = self.path.with_extension("lock");
        let failed = |source| TrainError::File { path: path.clone(), source };
        let file = File::create(&path).map_err(failed)?;
        if wait {
            file.lock().map_err(failed)?;
            return Ok(Some(file));
        }
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Writes what is due after a step; a checkpoint is due too where no step follows.
    pub(crate) fn keep(
        &self,
        run: &TrainingRun<'_>,
        state: &TrainingState,
        last: bool,
    ) -> Result<(), TrainError> {
        // The state first: a checkpoint behind it lacks nothing that a later run does not write again.
        if self.states && run.recipe().traces(state.step) {
            let folder = states_folder(&self.path);
            let file = |source| TrainError::File { path: folder.clone(), source };
            std::fs::create_dir_all(&folder).map_err(file)?;
            write_durably(&state_file(&folder, state.step), &run.write_state(state))?;
        }
        if last || state.step.is_multiple_of(self.every.max(1)) {
            write_durably(&self.path, &run.write_state(state))?;
        }
        Ok(())
    }
}

impl TrainingRun<'_> {
    /// The state as bytes that [`Self::read_state`] takes back, now or in another process.
    pub fn write_state(&self, state: &TrainingState) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.state_bytes(state.step));
        bytes.extend(NAME);
        bytes.extend(VERSION);
        for (hash, _) in self.identity() {
            bytes.extend(hash);
        }
        bytes.extend((state.step as u64).to_le_bytes());
        bytes.extend(state.beta1_power.to_le_bytes());
        bytes.extend(state.beta2_power.to_le_bytes());
        for part in [&state.values, &state.first, &state.second] {
            bytes.extend(part.iter().flat_map(|x| x.to_le_bytes()));
        }
        bytes.extend(state.trace.as_flattened());
        bytes.extend(state.losses.iter().flat_map(|x| x.to_le_bytes()));
        bytes.extend(Sha256::digest(&bytes));
        bytes
    }

    /// Errors: why these bytes are no state of this run.
    pub fn read_state(&self, bytes: &[u8]) -> Result<TrainingState, &'static str> {
        let Some(after_name) = bytes.strip_prefix(NAME) else {
            return Err("it is no checkpoint of an adapter");
        };
        if !after_name.starts_with(VERSION) {
            return Err("another version of the program wrote it");
        }
        let damaged = Err("it is damaged");
        let Some((body, sum)) = bytes.split_last_chunk::<32>() else { return damaged };
        if Sha256::digest(body)[..] != *sum || body.len() < HEAD {
            return damaged;
        }
        let (head, mut rest) = body.split_at(HEAD);
        let (hashes, numbers) = head[NAME.len() + VERSION.len()..].split_at(3 * 32);
        for (stored, (hash, other)) in hashes.as_chunks::<32>().0.iter().zip(self.identity()) {
            if *stored != hash {
                return Err(other);
            }
        }
        let numbers = numbers.as_chunks::<8>().0;
        let mut state = self.start();
        let step = u64::from_le_bytes(numbers[0]);
        if step > self.recipe().steps as u64 || bytes.len() != self.state_bytes(step as usize) {
            return damaged;
        }
        state.step = step as usize;
        state.beta1_power = f64::from_le_bytes(numbers[1]);
        state.beta2_power = f64::from_le_bytes(numbers[2]);
        let mut take = |n: usize| {
            let (part, later) = rest.split_at(n);
            rest = later;
            part
        };
        for part in [&mut state.values, &mut state.first, &mut state.second] {
            let bytes = take(4 * part.len());
            for (x, b) in part.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *x = f32::from_le_bytes(*b);
            }
        }
        state.trace = take(32 * self.recipe().trace_entries(state.step)).as_chunks().0.to_vec();
        let losses = take(4 * state.step).as_chunks::<4>().0;
        state.losses = losses.iter().map(|b| f32::from_le_bytes(*b)).collect();
        Ok(state)
    }

    /// Size of a state after so many steps.
    fn state_bytes(&self, step: usize) -> usize {
        let shown = 32 * self.recipe().trace_entries(step) + 4 * step;
        HEAD + 3 * 4 * self.layout().len() + shown + 32
    }

    /// The state in a file, or that before the first step where there is no file.
    ///
    /// Errors: [`TrainError::Checkpoint`] if it is not one of this run, [`TrainError::File`].
    pub fn resume(&self, path: &Path) -> Result<TrainingState, TrainError> {
        let file = |source| TrainError::File { path: path.into(), source };
        let wrong = |why| TrainError::Checkpoint { path: path.into(), why };
        let size = match std::fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(self.start()),
            Err(error) => return Err(file(error)),
        };
        if size > self.state_bytes(self.recipe().steps) as u64 {
            return Err(wrong("it is larger than any state of this run"));
        }
        self.read_state(&std::fs::read(path).map_err(file)?).map_err(wrong)
    }
}
