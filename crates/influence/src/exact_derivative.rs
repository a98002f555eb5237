//! What a little more of one record would have changed: the exact derivative of the run, backwards.
//!
//! The run is a program θ_T(w) with one weight per record, all 1. Its derivative is carried back through
//! every step of AdamW, the clipping of the gradient included. The product of the Hessian with a vector is
//! a central difference of gradients, so it is exact up to the rounding of f32 and the third derivative.
//!
//! ```text
//! λ = ∇ ln p(θ_T) ─▶ step T ─▶ step T−1 ─▶ … ─▶ step 1;   at each: score_i += ⟨∇ℓ_i(θ_t)/B, λ_gradient⟩
//! ```

use openledger_factory::{Example, Recipe};
use openledger_model::{Batch, Decoder, LoraTrainer};

use crate::gradients::dot;
use crate::replay::{State, Step, fill};
use crate::{Error, Gradients, History, Scores, Sequence, example_gradients};

/// Length of the step of a difference, relative to that of the values.
const DIFFERENCE: f64 = 2e-3;

/// ∂ ln p(answer) / ∂ w_i for every answer and record: positive for a record that helped.
///
/// `queries`: ∇ of each answer's loss at the end of the run. Costs two gradients of a batch per step and
/// answer. Source: 2504.16430 (the derivative of a deterministic run), here through AdamW.
/// Errors: [`Error::Model`], [`Error::Shape`].
pub fn exact_derivative(
    base: &Decoder,
    recipe: &Recipe,
    examples: &[Example],
    history: &History,
    queries: &Gradients,
) -> Result<Scores, Error> {
    crate::error::same("numbers of a gradient", queries.columns, history.layout.len())?;
    let (n, p) = (examples.len(), history.layout.len());
    let mut adjoints: Vec<Adjoint> = (0..queries.rows())
        .map(|q| Adjoint {
            // The score is the log-likelihood, the negated loss.
            values: queries.row(q).iter().map(|g| -f64::from(*g)).collect(),
            first: vec![0.0; p],
            second: vec![0.0; p],
        })
        .collect();
    let mut scores = Scores::from_fn(queries.rows(), n, |_, _| 0.0);
    let mut trainer = LoraTrainer::new(base, &history.layout)?;
    let mut batch = Batch::default();
    for ((step, before), after) in
        history.steps.iter().zip(&history.states).zip(&history.states[1..]).rev()
    {
        let sequences: Vec<Sequence<'_>> =
            step.batch.iter().map(|i| sequence(&examples[*i])).collect();
        let each = example_gradients(base, &history.layout, &before.values, &sequences)?;
        fill(&mut batch, base, examples, &step.batch, history.divisor)?;
        let gradient = sum(&each, history.divisor);
        for (q, adjoint) in adjoints.iter_mut().enumerate() {
            let moved = adjoint.through_update(recipe, step, &gradient, after);
            let single: Vec<f32> = moved.iter().map(|x| *x as f32).collect();
            for (row, record) in step.batch.iter().enumerate() {
                // A record may be drawn twice at the seam of two passes.
                let part = dot(each.row(row), &single) / f64::from(history.divisor);
                scores.data[q * n + record] += part;
            }
            let product = hessian_product(&mut trainer, &before.values, &batch, &moved);
            adjoint.values.iter_mut().zip(&product).for_each(|(sum, x)| *sum += x);
        }
    }
    Ok(scores)
}

fn sequence(example: &Example) -> Sequence<'_> {
    Sequence { tokens: &example.tokens, answer_start: example.answer_start }
}

/// The gradient of the step.
fn sum(each: &Gradients, divisor: f32) -> Vec<f64> {
    let mut sum = vec![0.0; each.columns];
    for row in 0..each.rows() {
        sum.iter_mut().zip(each.row(row)).for_each(|(sum, g)| *sum += f64::from(*g));
    }
    sum.iter_mut().for_each(|g| *g /= f64::from(divisor));
    sum
}

/// Derivative of the score with respect to the state after a step; then to that before it.
struct Adjoint {
    values: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Adjoint {
    /// Back through clipping and AdamW. Returns the derivative with respect to the batch's gradient; what
    /// that gradient owes to the values is still to be added to `self.values`.
    fn through_update(
        &mut self,
        recipe: &Recipe,
        step: &Step,
        gradient: &[f64],
        after: &State,
    ) -> Vec<f64> {
        let [beta1, beta2] = [recipe.beta1, recipe.beta2].map(f64::from);
        let [c1, c2] = step.corrections.map(f64::from);
        let (rate, scale) = (f64::from(step.rate), f64::from(step.gradient_scale));
        let epsilon = f64::from(recipe.epsilon);
        let decay = 1.0 - rate * f64::from(recipe.weight_decay);
        let mut on_gradient = vec![0.0; gradient.len()];
        for i in 0..gradient.len() {
            let (m, v) = (f64::from(after.first[i]) / c1, f64::from(after.second[i]) / c2);
            let root = v.sqrt();
            // Where no gradient ever was, the update is zero and stays so.
            if root > 0.0 {
                let below = root + epsilon;
                self.first[i] -= rate * self.values[i] / (c1 * below);
                self.second[i] += rate * self.values[i] * m / (below * below * 2.0 * root * c2);
            }
            on_gradient[i] = (1.0 - beta1) * self.first[i]
                + (1.0 - beta2) * 2.0 * scale * gradient[i] * self.second[i];
            self.first[i] *= beta1;
            self.second[i] *= beta2;
            self.values[i] *= decay;
        }
        if scale < 1.0 {
            // ĝ = g · max / ‖g‖.
            let squares: f64 = gradient.iter().map(|g| g * g).sum();
            let along: f64 = gradient.iter().zip(&on_gradient).map(|(g, x)| g * x).sum();
            let pairs = on_gradient.iter_mut().zip(gradient);
            pairs.for_each(|(x, g)| *x = scale * (*x - g * along / squares));
        }
        on_gradient
    }
}

/// H·v of the batch's loss.
fn hessian_product(
    trainer: &mut LoraTrainer<'_>,
    values: &[f32],
    batch: &Batch,
    vector: &[f64],
) -> Vec<f64> {
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    let size = values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if length == 0.0 || !length.is_finite() {
        return vec![0.0; vector.len()];
    }
    let h = DIFFERENCE * size / length;
    let mut at = |sign: f64| {
        let moved: Vec<f32> =
            values.iter().zip(vector).map(|(x, v)| (f64::from(*x) + sign * h * v) as f32).collect();
        let mut gradients = vec![0.0; values.len()];
        trainer.loss_and_gradients(&moved, batch, &mut gradients);
        gradients
    };
    let (above, below) = (at(1.0), at(-1.0));
    above.iter().zip(&below).map(|(a, b)| f64::from(a - b) / (2.0 * h)).collect()
}
