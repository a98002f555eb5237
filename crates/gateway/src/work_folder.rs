//! The folder in which a model is trained: checkpoints, and the states of the traces.
//!
//! ```text
//! NAME.training/job               which training this is
//!              /plan.json         how it is trained, for processes that help
//!              /records           on what
//!              /published         checkpoint of the published adapter, its states beside it
//!              /design/run-R…     the same for the counterfactual runs, R counted without run 0 and the base
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
};

use openledger_attribution::{DesignRef, Grouping};
use openledger_datanet::{Version, load_version, save_version};
use openledger_factory::{Checkpoints, Recipe, states_folder};
use openledger_primitives::{B256, keccak256};
use serde::{Deserialize, Serialize};

use crate::{Error, Player, PublishedModel, TrainingJob, files::write_durably};

/// Steps between two checkpoints.
const CHECKPOINT_EVERY: usize = 25;

/// Extension of a work folder.
const EXTENSION: &str = "training";
/// File name of the plan.
const PLAN: &str = "plan.json";
/// Folder of the records.
const RECORDS: &str = "records";

/// How a model is trained: all but the records.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    pub(crate) base_hash: B256,
    pub(crate) recipe: Recipe,
    pub(crate) design: DesignRef,
    pub(crate) grouping: Grouping,
    pub(crate) players: Vec<Player>,
}

/// Where a training is kept until its model is published.
#[derive(Debug, Clone)]
pub(crate) struct WorkFolder(PathBuf);

impl WorkFolder {
    /// The work folder of the model that a job will put into its folder, emptied unless it is of this very
    /// training.
    pub(crate) fn open(job: &TrainingJob<'_>) -> Result<Self, Error> {
        let work = Self::of(job.folder);
        let version = job.version;
        let plan = Plan {
            base_hash: job.base.hash().into(),
            recipe: job.recipe.clone(),
            design: job.design.reference(),
            grouping: job.grouping.clone(),
            players: job.players.to_vec(),
        };
        let plan = serde_json_canonicalizer::to_vec(&plan).expect("plain data");
        let id = keccak256([version.root().as_slice(), &plan].concat());
        let file = work.0.join("job");
        if fs::read(&file).is_ok_and(|found| found == id.as_slice()) {
            return Ok(work);
        }
        work.remove()?;
        fs::create_dir_all(&work.0).map_err(|error| Error::io("create", &work.0, error))?;
        save_version(version, &work.0.join(RECORDS))?;
        write_durably(&work.0.join(PLAN), &plan)?;
        // Last of all: a folder that says which training it is is complete.
        write_durably(&file, id.as_slice())?;
        Ok(work)
    }

    /// The work folders of models and of openings under `models`, complete ones only.
    pub(crate) fn all(models: &Path) -> Result<Vec<Self>, Error> {
        let mut found = Vec::new();
        let mut look = |folder: &Path| -> Result<(), Error> {
            let entries = match fs::read_dir(folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(Error::io("read", folder, error)),
            };
            for entry in entries {
                let path = entry.map_err(|error| Error::io("read", folder, error))?.path();
                let work = path.extension().is_some_and(|extension| extension == EXTENSION);
                if work && path.join("job").is_file() {
                    found.push(Self(path));
                }
            }
            Ok(())
        };
        look(models)?;
        for model in PublishedModel::folders(models)? {
            look(&model.join("openings"))?;
        }
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// What is trained here: the plan, and the records.
    pub(crate) fn plan(&self) -> Result<(Plan, Version), Error> {
        let path = self.0.join(PLAN);
        let json = fs::read(&path).map_err(|error| Error::io("read", &path, error))?;
        let plan = serde_json::from_slice(&json)
            .map_err(|error| Error::Corrupt(format!("{}: {error}", path.display())))?;
        Ok((plan, load_version(&self.0.join(RECORDS))?))
    }

    /// The model's folder that this one stands beside.
    pub(crate) fn model(&self) -> PathBuf {
        self.0.with_extension("")
    }

    /// As [`Self::open`], without looking what is in it.
    pub(crate) fn of(model: &Path) -> Self {
        Self(model.with_added_extension(EXTENSION))
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
