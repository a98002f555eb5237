//! What a run may be put through without changing a bit: ends, batches, less memory, four-bit bases.

mod toy;

use openledger_factory::{
    Checkpoints, DesignOptions, Example, Precision, Proceed, Recipe, TrainError, TrainingRun,
    retrain_segment, train, train_design_with, train_unclaimed,
};
use openledger_model::{Decoder, DecoderConfig, Weights};
use openledger_tensor::{Bf16Matrix, FourBitMatrix, Random};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use toy::{examples, subsets};

const LAYERS: usize = 3;

fn config() -> DecoderConfig {
    toy::config(LAYERS)
}

fn base() -> Decoder {
    toy::base(LAYERS)
}

fn recipe() -> Recipe {
    toy::recipe(13)
}

/// The run that is killed, in a process of its own: does nothing unless the test below started it.
#[test]
fn a_run_that_reports_its_steps() {
    let Some(path) = std::env::var_os(CHECKPOINT_VARIABLE) else { return };
    let (base, examples, recipe) = (base(), examples(), killed_recipe());
    let run = TrainingRun::new(&base, &recipe, &examples, &[true; 3]).expect("fits");
    let checkpoints = Checkpoints { path: path.into(), every: EVERY, states: false };
    let trained = run.train(Some(&checkpoints), |p| {
        eprintln!("step {}", p.step);
        Proceed::Continue
    });
    eprintln!("done {:?}", trained.expect("trains").adapter.hash());
}

const CHECKPOINT_VARIABLE: &str = "OPENLEDGER_TEST_CHECKPOINT";
const EVERY: usize = 7;

fn killed_recipe() -> Recipe {
    Recipe { steps: 120, ..recipe() }
}

/// Starts the run above, kills it after some lines, and returns all of them.
fn lines_of_a_killed_run(checkpoint: &Path, lines: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().expect("a test"))
        .args(["--exact", "a_run_that_reports_its_steps", "--nocapture"])
        .env(CHECKPOINT_VARIABLE, checkpoint)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut output = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut seen = Vec::new();
    while seen.len() < lines {
        match output.next() {
            Some(line) => seen.push(line.expect("text")),
            None => break,
        }
    }
    // On Unix this is SIGKILL: nothing of the process runs after it.
    child.kill().expect("kills");
    child.wait().expect("ends");
    seen.extend(output.map_while(Result::ok));
    seen
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_bits_and_loses_little() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.checkpoint");
    let whole = train(&base(), &killed_recipe(), &examples(), &[true; 3], |_| Proceed::Continue);
    let whole = format!("done {:?}", whole.expect("trains").adapter.hash());
    let mut random = Random::new(17, 0);
    let (mut kills, mut reached) = (0, 0usize);
    loop {
        let lines = lines_of_a_killed_run(&path, 1 + random.below(40));
        let step = |line: &String| line.strip_prefix("step ").and_then(|n| n.parse().ok());
        let steps: Vec<usize> = lines.iter().filter_map(step).collect();
        if let Some(first) = steps.first() {
            // A step is reported before its checkpoint is written, so the last one may be missing.
            assert!(*first + EVERY > reached, "from {reached} back to {first}");
            assert!(*first == 1 || (*first - 1) % EVERY == 0, "{first}");
        }
        reached = steps.last().copied().unwrap_or(reached);
        if let Some(done) = lines.iter().find(|l| l.starts_with("done")) {
            assert_eq!(*done, whole);
            break;
        }
        kills += 1;
        assert!(kills < 200, "no progress after {kills} kills");
    }
    assert!(kills >= 2, "killed {kills} times only");
}

#[test]
fn a_run_stopped_after_any_step_goes_on_to_the_same_bits() {
    let (base, examples, recipe) = (base(), examples(), recipe());
    let run = TrainingRun::new(&base, &recipe, &examples, &[true, false, true]).expect("fits");
    let whole = run.train(None, |_| Proceed::Continue).expect("trains");
    for stop in 1..recipe.steps {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints =
            Checkpoints { path: folder.path().join("run"), every: 1000, states: false };
        let stopped = run.train(Some(&checkpoints), |p| {
            if p.step == stop { Proceed::Stop } else { Proceed::Continue }
        });
        assert!(matches!(stopped, Err(TrainError::Stopped { step }) if step == stop));
        let mut first = None;
        let resumed = run.train(Some(&checkpoints), |p| {
            first.get_or_insert(p.step);
            Proceed::Continue
        });
        let resumed = resumed.expect("trains");
        assert_eq!(first, Some(stop + 1));
        assert_eq!(resumed.adapter.hash(), whole.adapter.hash());
        assert_eq!((resumed.trace, resumed.losses), (whole.trace.clone(), whole.losses.clone()));
        // Finished, it is only read.
        let again = run.train(Some(&checkpoints), |_| panic!("a step was made")).expect("reads");
        assert_eq!(again.adapter.hash(), whole.adapter.hash());
    }
}

#[test]
fn a_checkpoint_of_anything_else_is_refused_with_the_reason() {
    let (base, examples, recipe) = (base(), examples(), recipe());
    let run = TrainingRun::new(&base, &recipe, &examples, &[true; 3]).expect("fits");
    let mut state = run.start();
    run.advance(&mut state, 6, |_| Proceed::Continue).expect("trains");
    let bytes = run.write_state(&state);
    assert_eq!(run.read_state(&bytes).expect("its own"), state);

    let other_base = Decoder::new(config(), Weights::random(&config(), 8), true);
    let other_recipe = Recipe { learning_rate: 1e-3, ..recipe.clone() };
    let other_examples = &examples[1..];
    let why = |base, recipe, examples, subset: &[bool]| {
        let run = TrainingRun::new(base, recipe, examples, subset).expect("fits");
        run.read_state(&bytes).expect_err("refused")
    };
    assert!(why(&other_base, &recipe, &examples, &[true; 3]).contains("another base"));
    assert!(why(&base, &other_recipe, &examples, &[true; 3]).contains("another recipe"));
    assert!(why(&base, &recipe, other_examples, &[true; 3]).contains("other records"));
    assert!(why(&base, &recipe, &examples, &[true, true, false]).contains("other players"));

    let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        run.read_state(&bytes).expect_err("refused")
    };
    for at in [30, 200, bytes.len() - 1] {
        assert_eq!(damaged(&|b| b[at] ^= 1), "it is damaged");
    }
    assert_eq!(damaged(&|b| b.truncate(b.len() - 1)), "it is damaged");
    assert_eq!(damaged(&|b| b.truncate(40)), "it is damaged");
    assert!(damaged(&|b| b[27] = b'2').contains("another version"));
    assert!(damaged(&|b| b.clear()).contains("no checkpoint"));

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run");
    std::fs::write(&path, &bytes[1..]).expect("written");
    let checkpoints = Checkpoints { path: path.clone(), every: 1, states: false };
    let error = run.train(Some(&checkpoints), |_| panic!("a step was made")).expect_err("refused");
    assert!(error.to_string().contains("run cannot be resumed: it is no checkpoint"), "{error}");
}

#[test]
fn one_segment_of_a_trace_can_be_repeated_alone() {
    let (base, examples, recipe, subset) = (base(), examples(), recipe(), [true, true, false]);
    let run = TrainingRun::new(&base, &recipe, &examples, &subset).expect("fits");
    let mut state = run.start();
    run.advance(&mut state, 5, |_| Proceed::Continue).expect("trains");
    let published = train(&base, &recipe, &examples, &subset, |_| Proceed::Continue);
    let trace = published.expect("trains").trace;
    assert_eq!(trace.len(), 3);
    assert_eq!(state.hash(), trace[0]);
    let again = |from, examples: &[Example], steps| {
        retrain_segment(&base, &recipe, examples, &subset, from, steps)
    };
    assert_eq!(again(&state, &examples, 5).expect("repeats"), trace[1]);
    assert_eq!(again(&state, &examples, 8).expect("repeats"), trace[2]);
    let mut forged = examples.clone();
    forged[0].tokens[5] ^= 1;
    assert_ne!(again(&state, &forged, 5).expect("repeats"), trace[1]);
    assert!(matches!(
        again(&state, &examples, 9),
        Err(TrainError::SegmentTooLong { steps: 9, left: 8 })
    ));
}

#[test]
fn runs_in_one_batch_come_out_as_they_would_alone() {
    let (base, examples, subsets) = (base(), examples(), subsets());
    let train_all = |options: &DesignOptions| {
        let all = train_design_with(&base, &recipe(), &examples, &subsets, options, |_| {
            Proceed::Continue
        });
        all.expect("trains").into_iter().map(|t| (t.adapter.hash(), t.trace, t.losses)).collect()
    };
    let alone: Vec<_> = train_all(&DesignOptions::default());
    for (workers, threads_per_worker, runs_per_batch) in
        [(1, 1, 2), (1, 2, 3), (2, 1, 4), (1, 3, 8), (3, 1, 100), (2, 2, 1)]
    {
        let options =
            DesignOptions { workers, threads_per_worker, runs_per_batch, checkpoints: None };
        let together: Vec<_> = train_all(&options);
        assert!(together == alone, "{options:?}");
    }
}

#[test]
fn a_design_stopped_half_way_goes_on_per_run_however_it_is_batched() {
    let (base, examples, subsets) = (base(), examples(), subsets());
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = Checkpoints { path: folder.path().join("design"), every: 3, states: true };
    let options = |workers, runs_per_batch, checkpoints| DesignOptions {
        workers,
        threads_per_worker: 1,
        runs_per_batch,
        checkpoints,
    };
    let design = |options: &DesignOptions, stop: Option<usize>| {
        train_design_with(&base, &recipe(), &examples, &subsets, options, |p| {
            if Some(p.progress.step) == stop { Proceed::Stop } else { Proceed::Continue }
        })
    };
    let alone = design(&DesignOptions::default(), None).expect("trains");
    // Runs of one group stop at a step where another group was never started.
    for (runs_per_batch, stop) in [(3, 4), (2, 8), (1, 11)] {
        let stopped = design(&options(1, runs_per_batch, Some(checkpoints.clone())), Some(stop));
        assert!(matches!(stopped, Err(TrainError::Stopped { .. })));
    }
    let resumed = design(&options(2, 4, Some(checkpoints)), None).expect("trains");
    for (resumed, alone) in resumed.iter().zip(&alone) {
        assert_eq!(resumed.adapter.hash(), alone.adapter.hash());
        assert_eq!(resumed.trace, alone.trace);
    }
}

#[test]
fn processes_that_share_a_folder_divide_the_runs_and_none_is_lost_with_its_process() {
    let (base, examples, subsets) = (base(), examples(), subsets());
    let recipe = recipe();
    let go_on = |_: openledger_factory::DesignProgress<'_>| Proceed::Continue;
    let whole = DesignOptions::default();
    let alone = train_design_with(&base, &recipe, &examples, &subsets, &whole, go_on);
    let alone = alone.expect("trains");
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = Checkpoints { path: folder.path().to_owned(), every: 1000, states: false };
    let options = DesignOptions { workers: 2, checkpoints: Some(checkpoints), ..whole };
    let claim = |run: usize| {
        let file = std::fs::File::create(folder.path().join(format!("run-{run}.lock")));
        let file = file.expect("written");
        file.lock().expect("claims");
        file
    };
    let help = || train_unclaimed(&base, &recipe, &examples, &subsets, &options, go_on);

    // What others are at is left to them.
    let others = [claim(2), claim(5)];
    assert_eq!(help().expect("trains"), [0, 1, 3, 4, 6, 7]);
    drop(others);
    let (reached, mut trained) = (AtomicUsize::new(0), Vec::new());
    let other = claim(5);
    std::thread::scope(|scope| {
        let leader = scope.spawn(|| {
            train_design_with(&base, &recipe, &examples, &subsets, &options, |at| {
                assert_ne!(at.run, 5, "another process was at it");
                reached.fetch_add(1, Ordering::Relaxed);
                Proceed::Continue
            })
        });
        // The other process ends its run while the leader waits for it.
        let run = TrainingRun::new(&base, &recipe, &examples, &subsets[5]).expect("fits");
        let path = folder.path().join("run-5.checkpoint");
        let checkpoints = Checkpoints { path, every: 1000, states: false };
        run.train(Some(&checkpoints), |_| Proceed::Continue).expect("trains");
        drop(other);
        trained = leader.join().expect("ends").expect("trains");
    });
    assert_eq!(reached.into_inner(), recipe.steps, "run 2 alone was left to train");
    for (trained, alone) in trained.iter().zip(&alone) {
        assert_eq!(trained.adapter.hash(), alone.adapter.hash());
        assert_eq!(trained.trace, alone.trace);
    }
}

#[test]
fn activations_that_are_computed_again_change_no_bit() {
    let (base, examples, recipe) = (base(), examples(), recipe());
    let hash = |layers| {
        let run = TrainingRun::new(&base, &recipe, &examples, &[true; 3]).expect("fits");
        let run = run.keeping_layers(layers);
        run.train(None, |_| Proceed::Continue).expect("trains").trace
    };
    let all = hash(usize::MAX);
    for layers in [0, 1, 2, 3] {
        assert_eq!(hash(layers), all, "{layers} layers kept");
    }
}

#[test]
fn a_four_bit_base_trains_to_the_bits_of_the_base_its_codes_stand_for() {
    let (examples, recipe) = (examples(), recipe());
    let four_bit = Decoder::four_bit(config(), Weights::random(&config(), 7), true);
    let mut weights = Weights::random(&config(), 7);
    for layer in &mut weights.layers {
        let (h, f) = (config().hidden_size, config().intermediate_size);
        let parts = [
            (&mut layer.qkv, h),
            (&mut layer.output, h),
            (&mut layer.gate_up, h),
            (&mut layer.down, f),
        ];
        for (w, columns) in parts {
            FourBitMatrix::quantise(w, w.len() / columns, columns).dequantise(w);
        }
    }
    let wide = Decoder::new(config(), weights, true);
    assert_eq!(four_bit.hash(), wide.hash());
    assert_ne!(four_bit.hash(), base().hash());
    assert!(four_bit.matrix_bytes() < wide.matrix_bytes());
    let trace = |base: &Decoder| {
        train(base, &recipe, &examples, &[true; 3], |_| Proceed::Continue).expect("trains").trace
    };
    assert_eq!(trace(&four_bit), trace(&wide));
    let logits = |base: &Decoder| base.all_logits(&[1, 2, 3], None).expect("fits");
    assert_eq!(logits(&four_bit), logits(&wide));
}

#[test]
fn fast_precision_is_asked_for_by_name_learns_alike_and_never_serves_a_design() {
    let (base, examples) = (base(), examples());
    let fast = Recipe { precision: Precision::Fast, steps: 60, ..recipe() };
    let exact = Recipe { precision: Precision::Exact, ..fast.clone() };
    let text = serde_json::to_string(&fast).expect("plain data");
    assert!(text.contains(r#""precision":"fast""#), "{text}");
    assert!(!serde_json::to_string(&exact).expect("plain data").contains("precision"));
    assert_eq!(serde_json::from_str::<Recipe>(&text).expect("reads"), fast);
    assert_eq!(Recipe::default().precision, Precision::Exact);

    let losses = |recipe| {
        let run = train(&base, recipe, &examples, &[true; 3], |_| Proceed::Continue);
        run.expect("trains").losses
    };
    let (a, b) = (losses(&fast), losses(&exact));
    assert!((a[59] - b[59]).abs() < 0.02 * b[59].abs(), "{} and {}", a[59], b[59]);
    // Where the processor is not faster at bf16 products, fast is exact.
    assert_eq!(a != b, Bf16Matrix::pays());

    let refused =
        train_design_with(&base, &fast, &examples, &subsets(), &DesignOptions::default(), |_| {
            panic!("a step was made")
        });
    let error = refused.expect_err("refused");
    assert!(matches!(error, TrainError::FastDesign), "{error}");
    assert!(error.to_string().contains("exact"), "{error}");
    let run = TrainingRun::new(&base, &fast, &examples, &[true; 3]).expect("fits");
    let segment = retrain_segment(&base, &fast, &examples, &[true; 3], &run.start(), 1);
    assert!(matches!(segment, Err(TrainError::FastSegment)));
}
