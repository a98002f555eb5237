//! The folder in which a model is trained: checkpoints, and the states of the traces.
//!
//! ```text
//! NAME.training/job               which training this is
//!              /published         checkpoint of the published adapter, its states beside it
//!              /design/run-R…     the same for the counterfactual runs, R counted without run 0 and the base
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
};

use openledger_factory::{Checkpoints, states_folder};
use openledger_primitives::keccak256;

use crate::{Error, TrainingJob, files::write_durably};

/// Steps between two checkpoints.
const CHECKPOINT_EVERY: usize = 25;

/// Where a training is kept until its model is published.
#[derive(Debug, Clone)]
pub(crate) struct WorkFolder(PathBuf);

impl WorkFolder {
    /// The work folder of the model that a job will put into its folder, emptied unless it is of this very
    /// training.
    pub(crate) fn open(job: &TrainingJob<'_>) -> Result<Self, Error> {
        let work = Self::of(job.folder);
        let plan = (job.recipe, job.design.hash(), job.grouping);
        let plan = serde_json_canonicalizer::to_vec(&plan).expect("plain data");
        let root = job.version.root();
        let job = keccak256([&job.base.hash()[..], root.as_slice(), &plan].concat());
        let file = work.0.join("job");
        if fs::read(&file).is_ok_and(|found| found == job.as_slice()) {
            return Ok(work);
        }
        work.remove()?;
        fs::create_dir_all(&work.0).map_err(|error| Error::io("create", &work.0, error))?;
        write_durably(&file, job.as_slice())?;
        Ok(work)
    }

    /// As [`Self::open`], without looking what is in it.
    pub(crate) fn of(model: &Path) -> Self {
        Self(model.with_added_extension("training"))
    }

    pub(crate) fn published(&self) -> Checkpoints {
        self.checkpoints("published")
    }

    pub(crate) fn design(&self) -> Checkpoints {
        self.checkpoints("design")
    }

    fn checkpoints(&self, name: &str) -> Checkpoints {
        Checkpoints { path: self.0.join(name), every: CHECKPOINT_EVERY, states: true }
    }

    /// Puts the states of one run into `folder` too, without copying where the file system can.
    pub(crate) fn states_into(
        &self,
        checkpoints: &Checkpoints,
        folder: &Path,
    ) -> Result<(), Error> {
        let states = states_folder(&checkpoints.path);
        let entries = match fs::read_dir(&states) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("read", &states, error)),
        };
        fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
        for entry in entries {
            let from = entry.map_err(|error| Error::io("read", &states, error))?.path();
            let to = folder.join(from.file_name().unwrap_or_default());
            fs::hard_link(&from, &to)
                .or_else(|_| fs::copy(&from, &to).map(|_| ()))
                .map_err(|error| Error::io("write", &to, error))?;
        }
        Ok(())
    }

    /// Removes the folder with everything in it.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &self.0, error))
            }
            _ => Ok(()),
        }
    }
}
