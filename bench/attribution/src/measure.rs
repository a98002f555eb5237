//! Trains and scores what a task needs, and asks every method.

use std::collections::{BTreeMap, BTreeSet};

use eyre::{OptionExt, Result};
use openledger_attribution::Design;
use openledger_model::{DecoderConfig, LoraLayout};
use openledger_tensor::Random;

use crate::measured::{Asked, Cost, LEAVE_ONE_OUT, Measured, Method};
use crate::methods;
use crate::ours;
use crate::runs::{Run, RunStore};
use crate::subsets::{Mask, held_out, of_design};
use crate::task::Task;

/// Units of a value in a nat.
pub(crate) const UNITS: f64 = openledger_attribution::VALUE_UNITS_PER_NAT as f64;
/// Bytes of a stored number of an adapter.
const BF16: u64 = 2;

/// What the seed of a second training is ahead of that of the first.
const OTHER_TRAINING: u64 = 1 << 32;

/// What is measured of a task beside the design of 16 runs and the methods of one training.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// How many subsets are judged by; `None` for all there are.
    pub(crate) subsets: Option<usize>,
    /// A design of twice the order.
    pub(crate) larger_design: bool,
    /// The exact derivative of the run: two gradients per step and answer.
    pub(crate) derivative: bool,
    /// The held-out subsets again, from other initial values and in another order.
    pub(crate) reseeded: bool,
}

/// Measures a task.
pub(crate) fn measure(task: &Task, store: &RunStore, wanted: Wanted) -> Result<Measured> {
    let Wanted { subsets, larger_design, derivative, reseeded } = wanted;
    let players = task.players.len();
    let everyone: Mask = (1 << players) - 1;
    let mut designs = vec![Design::with_order(players, 8).or_else(|_| Design::new(players))?];
    if larger_design {
        designs.push(Design::with_order(players, 16)?);
    }
    let of_designs: BTreeSet<Mask> = designs.iter().flat_map(of_design).collect();
    let judged = held_out(players, &of_designs, subsets, task.seed);
    // The designs first: an interrupted benchmark has what the method itself needs.
    let mut masks: Vec<Mask> = designs.iter().flat_map(of_design).collect();
    masks.extend((0..players).map(|player| everyone & !(1 << player)));
    masks.extend(&judged);
    let mut seen = BTreeSet::new();
    masks.retain(|mask| seen.insert(*mask));
    let runs = store.runs(task, &masks)?;

    let mut said = Vec::new();
    for design in &designs {
        said.push(of_our_design(task, design, &runs)?);
    }
    said.push(leave_one_out(task, everyone, &runs)?);
    let asked = methods::methods(task, derivative.then_some(store))?;
    said.extend(asked.methods);
    said.push(chance(task));
    let first = designs.first().ok_or_eyre("there is a design")?;
    let queries = task.queries.iter().enumerate().map(|(i, query)| {
        let values = values_of(&of_design(first), &runs, i)?;
        let explained = ours::attribute(first, &values, query.answer_tokens())?.explained;
        Ok(Asked { owner: query.owner, seen: query.seen, explained })
    });
    let mut recipe = task.recipe.clone();
    recipe.seed = recipe.seed.wrapping_add(OTHER_TRAINING);
    let again = if reseeded { store.runs_with(task, &recipe, &judged)? } else { BTreeMap::new() };
    let in_nats = |runs: &BTreeMap<Mask, Run>| -> Vec<(Mask, Vec<f64>)> {
        runs.iter().map(|(mask, run)| (*mask, nats(&run.values))).collect()
    };
    Ok(Measured {
        task: task.name.clone(),
        seed: task.seed,
        players: task.players.clone(),
        records: task.examples.len(),
        steps: task.recipe.steps,
        queries: queries.collect::<Result<_>>()?,
        held_out: judged,
        runs: in_nats(&runs),
        methods: said,
        tried: asked.tried,
        reseeded: in_nats(&again),
        training_seconds: runs[&everyone].training_seconds,
    })
}

fn nats(values: &[i64]) -> Vec<f64> {
    values.iter().map(|value| *value as f64 / UNITS).collect()
}

fn values_of(masks: &[Mask], runs: &BTreeMap<Mask, Run>, query: usize) -> Result<Vec<i64>> {
    let value = |mask| runs.get(mask).map(|run| run.values[query]).ok_or_eyre("the run was made");
    masks.iter().map(value).collect()
}

/// Trainings on everybody that some subsets cost, and processor seconds to score an answer under each.
fn cost(task: &Task, masks: &[Mask], runs: &BTreeMap<Mask, Run>) -> Cost {
    let players = task.players.len() as f64;
    let scoring: f64 = masks.iter().map(|mask| runs[mask].scoring_seconds).sum();
    let adapters = masks.iter().filter(|mask| **mask != 0).count() as u64;
    Cost {
        trainings: masks.iter().map(|mask| f64::from(mask.count_ones()) / players).sum(),
        setup_seconds: 0.0,
        answer_seconds: scoring / task.queries.len() as f64,
        bytes: adapters * BF16 * layout(task).len() as u64,
    }
}

pub(crate) fn layout(task: &Task) -> LoraLayout {
    let (config, recipe): (&DecoderConfig, _) = (task.base.config(), &task.recipe);
    LoraLayout::new(config, recipe.rank, recipe.alpha, &recipe.target_modules)
}

fn of_our_design(task: &Task, design: &Design, runs: &BTreeMap<Mask, Run>) -> Result<Method> {
    let masks = of_design(design);
    let (mut scores, mut shares) = (Vec::new(), Vec::new());
    for (i, query) in task.queries.iter().enumerate() {
        let values = values_of(&masks, runs, i)?;
        let attributed = ours::attribute(design, &values, query.answer_tokens())?;
        let scale = design.order() as f64 * UNITS;
        scores.push(attributed.effects.iter().map(|effect| *effect as f64 / scale).collect());
        shares.push(attributed.shares);
    }
    Ok(Method {
        name: format!("design, {} runs", design.run_count()),
        scores,
        shares: Some(shares),
        cost: cost(task, &masks, runs),
    })
}

fn leave_one_out(task: &Task, everyone: Mask, runs: &BTreeMap<Mask, Run>) -> Result<Method> {
    let masks: Vec<Mask> = (0..task.players.len()).map(|p| everyone & !(1 << p)).collect();
    let scores = (0..task.queries.len()).map(|query| {
        let whole = runs[&everyone].values[query];
        let without = values_of(&masks, runs, query)?;
        Ok(without.iter().map(|value| (whole - value) as f64 / UNITS).collect())
    });
    let scores = scores.collect::<Result<_>>()?;
    let asked = [&masks[..], &[everyone]].concat();
    Ok(Method { name: LEAVE_ONE_OUT.into(), scores, shares: None, cost: cost(task, &asked, runs) })
}

fn chance(task: &Task) -> Method {
    let mut random = Random::new(task.seed, 1 << 21);
    let row = |_| (0..task.players.len()).map(|_| f64::from(random.normal())).collect();
    let scores = (0..task.queries.len()).map(row).collect();
    Method { name: "random".into(), scores, shares: None, cost: Cost::default() }
}
