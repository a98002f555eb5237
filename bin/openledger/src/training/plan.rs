//! What is to be trained: the recipe, the players, the design, and where the model will be.

use std::{path::PathBuf, thread};

use openledger_attribution::{Design, Grouping, held_out};
use openledger_factory::Recipe;
use openledger_gateway::{ModelManifest, group};

use crate::{
    cli::TrainArgs,
    contribution::Contributed,
    failure::{Exit, Failure},
    local::{Local, gateway_failure},
};

/// How a model is trained, and where it will be.
#[derive(Clone)]
pub struct Plan {
    pub recipe: Recipe,
    pub design: Design,
    pub grouping: Grouping,
    pub threads: usize,
    /// Runs trained at once.
    pub workers: usize,
    pub folder: PathBuf,
}

impl Plan {
    /// The plan for these records and arguments.
    ///
    /// Errors: no design or no certificate is to be had so, said before hours of training.
    pub(super) fn new(
        local: &Local,
        name: &str,
        contributed: &Contributed,
        args: &TrainArgs,
    ) -> Result<Self, Failure> {
        let (version, players) = (&contributed.version, &contributed.onchain.players);
        let players_max = usize::from(args.players);
        let grouping = group(version, players, players_max, &local.tokenizer, &local.template)
            .map_err(gateway_failure)?;
        let design = design_for(args.runs, grouping.groups().len())?;
        if let Some(subsets) = args.certify {
            // Any seed will do to see whether so many subsets are left.
            held_out(&design, 0, subsets).map_err(|error| {
                Failure::new(Exit::Usage, "the model cannot be certified so").cause(error)
            })?;
        }
        let threads = args.threads.unwrap_or_else(all_cores);
        Ok(Self {
            recipe: recipe_for(args, version.records().len()),
            design,
            grouping,
            threads,
            workers: args.workers.unwrap_or(threads),
            folder: local.models_dir().join(name),
        })
    }

    /// The model in the plan's folder, if it was trained on these records in this way.
    ///
    /// Errors: a model of the same name that was trained otherwise; it is not replaced.
    pub(super) fn earlier(
        &self,
        local: &Local,
        contributed: &Contributed,
    ) -> Result<Option<ModelManifest>, Failure> {
        let Some(manifest) = ModelManifest::read(&self.folder).map_err(gateway_failure)? else {
            return Ok(None);
        };
        let same = manifest.recipe == self.recipe
            && manifest.design == self.design.reference()
            && manifest.grouping == self.grouping
            && manifest.datanets == [contributed.onchain.datanet.clone()]
            && manifest.base_hash.0 == local.base.hash();
        if same {
            return Ok(Some(manifest));
        }
        let error = openledger_gateway::Error::NameTaken(manifest.name);
        Err(gateway_failure(error))
    }
}

/// Threads where none are asked for.
pub fn all_cores() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

/// Training steps where none are asked for and the records are few.
const STEPS_MIN: usize = 400;
/// Passes over the records below which some are not learned by heart. Measured with nano on 480 shell
/// commands: 480 of 480 answered word for word after 500 steps of 16, which is 17 passes.
const PASSES_MIN: usize = 17;

/// The design that the budget of runs allows, or the smallest.
pub fn design_for(runs: Option<usize>, players: usize) -> Result<Design, Failure> {
    let design = match runs {
        None => Design::new(players),
        Some(runs) => Design::within(players, runs),
    };
    design.map_err(|error| {
        Failure::new(Exit::Usage, "these records have no design of counterfactual runs")
            .cause(error)
    })
}

/// The number of steps asked for, or enough for every record to be learned.
fn recipe_for(args: &TrainArgs, records: usize) -> Recipe {
    let recipe = Recipe::default();
    let enough = (PASSES_MIN * records).div_ceil(recipe.batch_size).max(STEPS_MIN);
    Recipe { steps: args.steps.map_or(enough, |steps| steps as usize), ..recipe }
}
