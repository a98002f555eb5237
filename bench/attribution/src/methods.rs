//! The comparison methods on one task: gradients of the published adapter, then every method on them.

use eyre::Result;
use openledger_influence::{
    Checkpoint, Damping, DataInf, EkFac, GradCos, GradDot, Gradients, History, Problem, Sequence,
    TracIn, Trak, blocks, bm25, exact_derivative, example_gradients, likelihoods, replay,
};
use openledger_model::{from_bf16, to_bf16};

use crate::cpu_time::CpuTime;
use crate::measured::{Cost, Method};
use crate::task::Task;

/// States of the run that TracIn reads.
const CHECKPOINTS: usize = 4;
/// Dimensions of TRAK's projection.
const PROJECTED: usize = 512;
/// The damping of the DataInf paper, and what EK-FAC and TRAK are given as well.
const DAMPING: Damping = Damping::Relative(0.1);
/// Widest matrix whose eigenvectors are computed.
const EIGEN_MAX: usize = 128;
/// Bytes of a kept number.
const F32: u64 = 4;

/// Scores of all comparison methods. `derivative`: also the exact derivative of the run, which costs many
/// trainings.
pub(crate) fn methods(task: &Task, derivative: bool) -> Result<Vec<Method>> {
    let everyone = vec![true; task.players.len()];
    let history = replay(&task.base, &task.recipe, &task.examples, &everyone)?;
    let published: Vec<f32> = history.values().iter().map(|x| from_bf16(to_bf16(*x))).collect();
    let (records, queries) = (records(task), questions(task));
    let (train, train_seconds) = gradients(task, &history, &published, &records)?;
    let (asked, asked_seconds) = gradients(task, &history, &published, &queries)?;
    let blocks = blocks(task.base.config(), task.recipe.rank, &task.recipe.target_modules);
    let checkpoints = checkpoints(task, &history)?;
    let likelihoods = likelihoods(&task.base, &history.layout, &published, &records)?;
    let problem = Problem {
        train: &train,
        queries: &asked,
        blocks: &blocks,
        likelihoods: &likelihoods,
        checkpoints: &checkpoints,
    };

    let bytes = F32 * train.data.len() as u64;
    let kept = |numbers: usize| F32 * (numbers * train.rows()) as u64;
    let mut all: Vec<(Box<dyn openledger_influence::Method>, u64, f64)> = vec![
        (Box::new(GradDot), bytes, 1.0),
        (Box::new(GradCos), bytes, 1.0),
        (Box::new(TracIn), bytes * CHECKPOINTS as u64, CHECKPOINTS as f64),
        (Box::new(DataInf { damping: DAMPING }), bytes, 1.0),
        (
            Box::new(Trak { dimensions: PROJECTED, damping: DAMPING, seed: task.seed }),
            kept(PROJECTED),
            1.0,
        ),
    ];
    if blocks.iter().all(|block| block.columns <= EIGEN_MAX) {
        all.push((Box::new(EkFac { damping: DAMPING }), bytes, 1.0));
    }
    let mut results = Vec::new();
    for (method, bytes, passes) in all {
        let start = CpuTime::now();
        let scores = method.scores(&problem)?;
        let seconds = start.seconds();
        let cost = Cost {
            trainings: 1.0,
            setup_seconds: train_seconds * passes + seconds,
            answer_seconds: asked_seconds * passes / queries.len() as f64,
            bytes,
        };
        results.push(of_scores(task, &method.name(), &scores, cost));
    }

    let start = CpuTime::now();
    let scores = bm25(&records, &queries);
    let answer_seconds = start.seconds() / queries.len() as f64;
    results.push(of_scores(task, "BM25", &scores, Cost { answer_seconds, ..Cost::default() }));

    if derivative {
        let start = CpuTime::now();
        let (last, _) = gradients(task, &history, history.values(), &queries)?;
        let scores = exact_derivative(&task.base, &task.recipe, &task.examples, &history, &last)?;
        let cost = Cost {
            trainings: 1.0,
            setup_seconds: 0.0,
            answer_seconds: start.seconds() / queries.len() as f64,
            // Values and both moments of every state.
            bytes: 3 * F32 * (history.states.len() * history.layout.len()) as u64,
        };
        results.push(of_scores(task, "exact derivative", &scores, cost));
    }
    Ok(results)
}

pub(crate) fn records(task: &Task) -> Vec<Sequence<'_>> {
    let sequences = task.examples.iter();
    sequences.map(|e| Sequence { tokens: &e.tokens, answer_start: e.answer_start }).collect()
}

pub(crate) fn questions(task: &Task) -> Vec<Sequence<'_>> {
    let sequences = task.queries.iter();
    sequences.map(|q| Sequence { tokens: &q.tokens, answer_start: q.answer_start }).collect()
}

fn gradients(
    task: &Task,
    history: &History,
    values: &[f32],
    sequences: &[Sequence<'_>],
) -> Result<(Gradients, f64)> {
    let start = CpuTime::now();
    let gradients = example_gradients(&task.base, &history.layout, values, sequences)?;
    Ok((gradients, start.seconds()))
}

/// Gradients at states spread evenly over the run, the last before the end included.
pub(crate) fn checkpoints(task: &Task, history: &History) -> Result<Vec<Checkpoint>> {
    let steps = history.steps.len();
    (1..=CHECKPOINTS)
        .map(|i| {
            let at = (steps * i / CHECKPOINTS).max(1) - 1;
            let values = &history.states[at].values;
            let of = |sequences: &[Sequence<'_>]| {
                example_gradients(&task.base, &history.layout, values, sequences)
            };
            Ok(Checkpoint {
                rate: f64::from(history.steps[at].rate),
                train: of(&records(task))?,
                queries: of(&questions(task))?,
            })
        })
        .collect()
}

fn of_scores(task: &Task, name: &str, scores: &openledger_influence::Scores, cost: Cost) -> Method {
    let owners: Vec<usize> = task.examples.iter().map(|e| e.player).collect();
    let scores = scores.per_player(&owners, task.players.len());
    Method { name: name.into(), scores, shares: None, cost }
}
