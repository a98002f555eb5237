//! The replayed run, and the derivative that is carried back through it.

use openledger_factory::{Example, Proceed, Recipe, train};
use openledger_influence::{Sequence, exact_derivative, example_gradients, replay};
use openledger_model::{Adapter, Batch, Decoder, DecoderConfig, LoraTrainer, Weights};
use openledger_tensor::{AdamW, Random};

fn base() -> Decoder {
    let config = DecoderConfig::llama(16, 1, (2, 2), 24, 20, 16);
    let mut weights = Weights::random(&config, 1);
    for (stream, tensor) in weights.parameters_mut().into_iter().enumerate() {
        let mut random = Random::new(9, stream as u64);
        tensor.data.iter_mut().for_each(|x| *x += random.normal() * 0.15);
    }
    Decoder::new(config, weights, true)
}

fn examples() -> Vec<Example> {
    let mut random = Random::new(2, 0);
    let tokens = |random: &mut Random, n| (0..n).map(|_| random.below(20) as u32).collect();
    (0..9)
        .map(|i| Example { tokens: tokens(&mut random, 6 + i % 3), answer_start: 2, player: i % 3 })
        .collect()
}

fn recipe() -> Recipe {
    Recipe { rank: 2, alpha: 4.0, steps: 12, batch_size: 4, warmup_steps: 3, ..Recipe::default() }
}

#[test]
fn the_replayed_run_is_the_trainers_own_to_the_bit() {
    let (base, examples) = (base(), examples());
    for (subset, longest) in [([true; 3], 1.0), ([true, false, true], 1e9), ([false; 3], 1.0)] {
        let recipe = Recipe { gradient_norm_max: longest, ..recipe() };
        let trained =
            train(&base, &recipe, &examples, &subset, |_| Proceed::Continue).expect("trains");
        let history = replay(&base, &recipe, &examples, &subset).expect("replays");
        assert_eq!(history.steps.len(), recipe.steps);
        assert_eq!(history.states.len(), recipe.steps + 1);
        let adapter = Adapter::new(history.layout.clone(), history.values()).expect("finite");
        assert_eq!(adapter.hash(), trained.adapter.hash());
    }
}

/// The run with other weights of the records, and the loss of a question at its end.
fn loss_with_weight(
    base: &Decoder,
    recipe: &Recipe,
    examples: &[Example],
    (record, weight): (usize, f32),
    question: Sequence<'_>,
) -> f64 {
    let history = replay(base, recipe, examples, &[true; 3]).expect("replays");
    let mut trainer = LoraTrainer::new(base, &history.layout).expect("for training");
    let mut values = history.states[0].values.clone();
    let (mut first, mut second) = (vec![0.0; values.len()], vec![0.0; values.len()]);
    let mut gradients = vec![0.0; values.len()];
    let mut batch = Batch::default();
    for step in &history.steps {
        batch.clear();
        for i in &step.batch {
            let weight = if *i == record { weight } else { 1.0 } / history.divisor;
            let e = &examples[*i];
            batch.push(base.config(), &e.tokens, e.answer_start, weight).expect("fits");
        }
        trainer.loss_and_gradients(&values, &batch, &mut gradients);
        let norm = gradients.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let longest = f64::from(recipe.gradient_norm_max);
        let optimizer = AdamW {
            learning_rate: step.rate,
            beta1: recipe.beta1,
            beta2: recipe.beta2,
            epsilon: recipe.epsilon,
            weight_decay: recipe.weight_decay,
            correction1: step.corrections[0],
            correction2: step.corrections[1],
            gradient_scale: if norm > longest { (longest / norm) as f32 } else { 1.0 },
        };
        optimizer.step(&mut values, &gradients, &mut first, &mut second);
    }
    batch.clear();
    batch.push(base.config(), question.tokens, question.answer_start, 1.0).expect("fits");
    trainer.loss_and_gradients(&values, &batch, &mut gradients)
}

#[test]
fn the_derivative_of_the_run_agrees_with_runs_of_slightly_other_weights() {
    let (base, examples) = (base(), examples());
    // Adam divides by the size of the gradient; where that is tiny the run is hardly differentiable, so
    // the check uses an epsilon of the size of the gradients. Once with clipping, once without.
    for longest in [0.05, 1e9] {
        let recipe = Recipe { gradient_norm_max: longest, epsilon: 1e-2, ..recipe() };
        let history = replay(&base, &recipe, &examples, &[true; 3]).expect("replays");
        let question = Sequence { tokens: &examples[1].tokens, answer_start: 2 };
        let gradient = example_gradients(&base, &history.layout, history.values(), &[question])
            .expect("gradients");
        let scores = exact_derivative(&base, &recipe, &examples, &history, &gradient)
            .expect("differentiates");
        let largest = scores.row(0).iter().fold(0.0f64, |a, b| a.max(b.abs()));
        assert!(largest > 1e-4, "the question moves with its records");
        for record in 0..examples.len() {
            let h = 0.1f32;
            let loss =
                |weight| loss_with_weight(&base, &recipe, &examples, (record, weight), question);
            let estimate = -(loss(1.0 + h) - loss(1.0 - h)) / (2.0 * f64::from(h));
            let error = (estimate - scores.row(0)[record]).abs();
            assert!(error < 0.03 * largest, "{record}: {estimate} {}", scores.row(0)[record]);
        }
    }
}
