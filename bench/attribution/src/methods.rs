//! The comparison methods on one task: gradients of the published adapter, then every method on them.

use eyre::Result;
use openledger_influence::{
    Checkpoint, Damped, Damping, DataInf, EkFac, GradCos, GradDot, Gradients, History, Problem,
    Sequence, TracIn, Trak, blocks, bm25, exact_derivative, example_gradients, likelihoods, replay,
};
use openledger_model::{from_bf16, to_bf16};

use crate::cpu_time::CpuTime;
use crate::measured::{Cost, Method, Tried};
use crate::runs::RunStore;
use crate::task::Task;

/// States of the run that TracIn reads.
const CHECKPOINTS: usize = 4;
/// Dimensions of TRAK's projection.
const PROJECTED: usize = 512;
/// Dampings that are tried, lightest first, in parts of each matrix's mean eigenvalue. A record's own
/// eigenvalue is up to as many times that mean as the matrix has numbers, so the scale is long.
const DAMPINGS: [f64; 9] = [1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4, 1e5];
/// Which of them stands in the tables as it is: the tenth of the DataInf paper.
const DEFAULT_DAMPING: usize = 2;
/// Widest matrix whose eigenvectors are computed: a second each.
const EIGEN_MAX: usize = 1024;
/// Bytes of a kept number.
const F32: u64 = 4;

/// What the comparison methods say, and what those with a damping say under each.
pub(crate) struct Said {
    pub(crate) methods: Vec<Method>,
    pub(crate) tried: Vec<Tried>,
}

/// Asks all comparison methods. `derivative`: where the exact derivative of the run is kept, if it is wanted
/// at all, since it costs many trainings.
pub(crate) fn methods(task: &Task, derivative: Option<&RunStore>) -> Result<Said> {
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
    let cost = |seconds: f64, passes: usize, bytes: u64| Cost {
        trainings: 1.0,
        setup_seconds: train_seconds * passes as f64 + seconds,
        answer_seconds: asked_seconds * passes as f64 / queries.len() as f64,
        bytes,
    };
    let mut results = Vec::new();
    let plain: [(&dyn openledger_influence::Method, usize); 3] =
        [(&GradDot, 1), (&GradCos, 1), (&TracIn, CHECKPOINTS)];
    for (method, passes) in plain {
        let start = CpuTime::now();
        let scores = method.scores(&problem)?;
        let cost = cost(start.seconds(), passes, bytes * passes as u64);
        results.push(of_scores(task, &method.name(), &scores, cost));
    }

    let damping = Damping::Relative(DAMPINGS[DEFAULT_DAMPING]);
    let mut damped: Vec<(Box<dyn Damped>, u64)> = vec![
        (Box::new(DataInf { damping }), bytes),
        (Box::new(Trak { dimensions: PROJECTED, damping, seed: task.seed }), kept(PROJECTED)),
    ];
    if blocks.iter().all(|block| block.columns <= EIGEN_MAX) {
        damped.push((Box::new(EkFac { damping }), bytes));
    }
    let mut tried = Vec::new();
    for (method, bytes) in damped {
        let start = CpuTime::now();
        let under = method.scores_under(&problem, &DAMPINGS.map(Damping::Relative))?;
        let cost = cost(start.seconds(), 1, bytes);
        for (at, (damping, scores)) in DAMPINGS.into_iter().zip(under).enumerate() {
            let said = of_scores(task, &method.name(), &scores, cost);
            tried.push(Tried { method: method.name(), damping, scores: said.scores.clone() });
            if at == DEFAULT_DAMPING {
                results.push(said);
            }
        }
    }

    let start = CpuTime::now();
    let scores = bm25(&records, &queries);
    let answer_seconds = start.seconds() / queries.len() as f64;
    results.push(of_scores(task, "BM25", &scores, Cost { answer_seconds, ..Cost::default() }));

    if let Some(store) = derivative {
        let of_derivative = || {
            let start = CpuTime::now();
            let (last, _) = gradients(task, &history, history.values(), &queries)?;
            let (recipe, examples) = (&task.recipe, &task.examples);
            let scores = exact_derivative(&task.base, recipe, examples, &history, &last)?;
            let cost = Cost {
                trainings: 1.0,
                setup_seconds: 0.0,
                answer_seconds: start.seconds() / queries.len() as f64,
                // Values and both moments of every state.
                bytes: 3 * F32 * (history.states.len() * history.layout.len()) as u64,
            };
            Ok(of_scores(task, "exact derivative", &scores, cost))
        };
        results.push(store.kept(task, "derivative", of_derivative)?);
    }
    Ok(Said { methods: results, tried })
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
