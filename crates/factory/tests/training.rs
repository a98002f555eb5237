//! Training is a function of its inputs.

mod toy;

use openledger_factory::{
    DesignProgress, Example, Pretrain, Proceed, Recipe, TrainError, Trained, TrainingRecipe,
    pretrain, train, train_design,
};
use openledger_model::{Decoder, DecoderConfig, ScoreRequest, Weights};
use openledger_tensor::{Random, SimdLevel, with_threads};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use toy::examples;

const LAYERS: usize = 2;

fn config() -> DecoderConfig {
    toy::config(LAYERS)
}

fn base() -> Decoder {
    toy::base(LAYERS)
}

fn recipe() -> Recipe {
    toy::recipe(12)
}

fn run(base: &Decoder, recipe: &Recipe, examples: &[Example], subset: &[bool]) -> Trained {
    train(base, recipe, examples, subset, |_| Proceed::Continue).expect("trains")
}

fn hex(hash: [u8; 32]) -> String {
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

/// Runs a check on every SIMD path and with several numbers of threads. The path is the process's, so one
/// check at a time.
fn on_every_path(threads: [usize; 3], check: impl Fn() + Sync) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for level in SimdLevel::available() {
        level.force();
        for threads in threads {
            eprintln!("{level:?}, {threads} threads");
            with_threads(threads, &check);
        }
    }
}

const GOLDEN_ADAPTER: &str = "81e7d064574190957776c7816752777345447d75fe731e42df0add5dd31bc6a4";
const GOLDEN_STATE: &str = "a22d873443884336bde676ee833dd3edc208e383d4892048f9b62ed4f3b5e635";
const GOLDEN_BASE: &str = "7557bf504fd4df0f7bc1440e89c1e2ec5cc04a947c3622b12904564061aa6afe";

/// The whole float path in one number: it changes only when the arithmetic does, and then every
/// published adapter can no longer be reproduced. The same in debug and release, on every SIMD path,
/// for every number of threads.
#[test]
fn the_golden_adapter_comes_out_on_every_path_and_any_number_of_threads() {
    let (base, examples) = (base(), examples());
    on_every_path([1, 2, 4], || {
        let trained = run(&base, &recipe(), &examples, &[true; 3]);
        assert_eq!(trained.trace.len(), 3);
        assert_eq!(hex(trained.adapter.hash()), GOLDEN_ADAPTER);
        assert_eq!(hex(trained.trace[2]), GOLDEN_STATE);
    });
}

#[test]
fn the_golden_base_comes_out_on_every_path_and_any_number_of_threads() {
    let mut random = Random::new(1, 1);
    let tokens: Vec<u16> = (0..300).map(|_| random.below(64) as u16).collect();
    let (config, training) = (config(), pretraining());
    let run = Pretrain {
        config: &config,
        training: &training,
        seed: 5,
        tokens: &tokens,
        checkpoint: None,
    };
    on_every_path([1, 2, 3], || {
        let weights = pretrain(&run, |_| Proceed::Continue).expect("trains");
        assert_eq!(hex(Decoder::new(config.clone(), weights, false).hash()), GOLDEN_BASE);
    });
}

fn pretraining() -> TrainingRecipe {
    TrainingRecipe {
        steps: 6,
        batch_sequences: 3,
        sequence_tokens: 20,
        learning_rate: 2e-3,
        final_rate_ratio: 0.1,
        warmup_steps: 2,
        beta1: 0.9,
        beta2: 0.95,
        weight_decay: 0.1,
        gradient_norm_max: 1.0,
    }
}

#[test]
fn a_resumed_base_has_the_bits_of_one_trained_in_one_go() {
    let mut random = Random::new(1, 1);
    let tokens: Vec<u16> = (0..300).map(|_| random.below(64) as u16).collect();
    let (config, training) = (config(), pretraining());
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("run.checkpoint");
    let run = Pretrain {
        config: &config,
        training: &training,
        seed: 5,
        tokens: &tokens,
        checkpoint: Some(path.clone()),
    };
    let whole =
        pretrain(&Pretrain { checkpoint: None, ..run }, |_| Proceed::Continue).expect("trains");
    let run = Pretrain { checkpoint: Some(path.clone()), ..run };
    pretrain(&run, |p| if p.step == 2 { Proceed::Stop } else { Proceed::Continue }).expect("stops");
    let mut steps = Vec::new();
    let resumed = pretrain(&run, |p| {
        steps.push(p.step);
        Proceed::Continue
    });
    assert_eq!(steps, [3, 4, 5, 6]);
    assert!(resumed.expect("trains") == whole);

    let other = Pretrain { seed: 6, ..run };
    assert!(matches!(pretrain(&other, |_| Proceed::Continue), Err(TrainError::Checkpoint { .. })));
    let mut bytes = std::fs::read(&path).expect("written");
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let run = Pretrain { checkpoint: Some(path), seed: 5, ..other };
    assert!(matches!(pretrain(&run, |_| Proceed::Continue), Err(TrainError::Checkpoint { .. })));
}

#[test]
fn every_run_of_a_design_equals_that_run_alone() {
    let (base, examples) = (base(), examples());
    let subsets = toy::subsets();
    let alone: Vec<_> =
        subsets.iter().map(|subset| run(&base, &recipe(), &examples, subset)).collect();
    for threads in [1, 2, 3] {
        let steps = AtomicUsize::new(0);
        let count = |p: DesignProgress<'_>| {
            assert_eq!(p.runs, 8);
            steps.fetch_add(1, Ordering::Relaxed);
            Proceed::Continue
        };
        let together =
            train_design(&base, &recipe(), &examples, &subsets, threads, count).expect("trains");
        assert_eq!(steps.into_inner(), 8 * 12);
        for (together, alone) in together.iter().zip(&alone) {
            assert_eq!(together.adapter.hash(), alone.adapter.hash());
            assert_eq!(together.trace, alone.trace);
        }
    }
    let mut hashes: Vec<_> = alone.iter().map(|t| t.adapter.hash()).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 8, "every subset gives its own adapter");
}

#[test]
fn what_an_absent_player_wrote_leaves_no_trace() {
    let (base, mut examples) = (base(), examples());
    let subset = [true, false, true];
    let before = run(&base, &recipe(), &examples, &subset);
    for example in examples.iter_mut().filter(|e| e.player == 1) {
        example.tokens.iter_mut().for_each(|t| *t = 63 - *t);
    }
    let after = run(&base, &recipe(), &examples, &subset);
    assert_eq!(after.adapter.hash(), before.adapter.hash());
    assert_eq!(after.trace, before.trace);
    assert_ne!(run(&base, &recipe(), &examples, &[true; 3]).adapter.hash(), before.adapter.hash());
}

#[test]
fn training_on_nobody_gives_the_base() {
    let (base, examples) = (base(), examples());
    let nobody = run(&base, &recipe(), &examples, &[false; 3]);
    assert!(nobody.losses.iter().all(|l| *l == 0.0));
    let score = |adapter| {
        let request = ScoreRequest { tokens: &examples[0].tokens, answer_start: 4, adapter };
        base.log_likelihoods(&[request]).expect("fits")
    };
    assert_eq!(score(Some(&nobody.adapter)), score(None));
}

#[test]
fn an_adapter_learns_its_records_and_not_those_of_others() {
    // Fresh weights are too small for a frozen head to say anything with certainty.
    let mut weights = Weights::random(&config(), 7);
    for (stream, tensor) in weights.parameters_mut().into_iter().enumerate() {
        let mut random = Random::new(7, 100 + stream as u64);
        tensor.data.iter_mut().for_each(|x| *x += random.normal() * 0.2);
    }
    let (base, examples) = (Decoder::new(config(), weights, true), examples());
    let recipe = Recipe { steps: 150, learning_rate: 1e-2, ..recipe() };
    let trained = run(&base, &recipe, &examples, &[true, true, false]);
    let mean = |player: usize, adapter| {
        let requests: Vec<_> = examples
            .iter()
            .filter(|e| e.player == player)
            .map(|e| ScoreRequest { tokens: &e.tokens, answer_start: e.answer_start, adapter })
            .collect();
        let scores = base.log_likelihoods(&requests).expect("fits").concat();
        scores.iter().sum::<i64>() as f64 / scores.len() as f64 / openledger_model::UNITS_PER_NAT
    };
    let adapter = Some(&trained.adapter);
    assert!(mean(0, adapter) > -1.0, "{}", mean(0, adapter));
    assert!(mean(1, adapter) > -1.0, "{}", mean(1, adapter));
    assert!(mean(2, adapter) < -3.0, "{}", mean(2, adapter));
    assert!(trained.losses[149] < 0.3 * trained.losses[0]);
}

#[test]
fn bad_input_is_refused_before_the_first_step() {
    let (base, good) = (base(), examples());
    let refused = |recipe: &Recipe, examples: &[Example], players: usize| {
        train(&base, recipe, examples, &vec![true; players], |_| panic!("a step was made"))
            .expect_err("refused")
            .to_string()
    };
    for (change, field) in [
        (Recipe { rank: 0, ..recipe() }, "rank"),
        (Recipe { rank: 257, ..recipe() }, "rank"),
        (Recipe { learning_rate: f32::NAN, ..recipe() }, "learning_rate"),
        (Recipe { warmup_steps: 12, ..recipe() }, "warmup_steps"),
        (Recipe { batch_size: 0, ..recipe() }, "batch_size"),
        (Recipe { target_modules: vec![], ..recipe() }, "target_modules"),
    ] {
        assert!(refused(&change, &good, 3).contains(field));
    }
    assert!(refused(&recipe(), &[], 3).contains("no examples"));
    assert!(refused(&recipe(), &good, 2).contains("player 2"));
    assert!(
        refused(&Recipe { tokens_max: 8, ..recipe() }, &good, 3).contains("the recipe allows 8")
    );
    for (tokens, answer_start) in
        [(vec![1], 0), (vec![1, 2], 2), (vec![1, 64], 1), (vec![1; 60], 5)]
    {
        let bad = Example { tokens, answer_start, player: 0 };
        assert!(refused(&recipe(), &[bad], 3).contains("example 0"));
    }
    let inference_only = Decoder::new(config(), Weights::random(&config(), 7), false);
    assert!(train(&inference_only, &recipe(), &good, &[true; 3], |_| Proceed::Continue).is_err());
}

#[test]
fn a_stopped_design_stops_all_its_runs() {
    let (base, examples) = (base(), examples());
    let subsets = vec![vec![true; 3]; 5];
    let steps = AtomicUsize::new(0);
    let result = train_design(&base, &recipe(), &examples, &subsets, 2, |_| {
        steps.fetch_add(1, Ordering::Relaxed);
        Proceed::Stop
    });
    assert!(matches!(result, Err(TrainError::Stopped { .. })));
    assert!(steps.into_inner() <= 2);
}

#[test]
fn a_recipe_with_an_unknown_field_is_refused_and_an_empty_one_is_the_default() {
    let read = serde_json::from_str::<Recipe>;
    assert_eq!(read("{}").expect("defaults"), Recipe::default());
    assert!(read(r#"{"ranks": 8}"#).is_err());
    let text = serde_json::to_string(&recipe()).expect("plain data");
    assert!(text.contains(r#""target_modules":["q_proj","k_proj","v_proj","o_proj","gate_proj","up_proj","down_proj"]"#));
    assert_eq!(read(&text).expect("reads"), recipe());
}
