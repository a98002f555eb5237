//! Learning rate by step.

use crate::TrainingRecipe;
use openledger_tensor::sin_cos;

/// Linear warm-up, then half a cosine down to `final_rate_ratio`. Steps count from 1.
pub(crate) fn warmup_cosine(training: &TrainingRecipe, step: usize) -> f32 {
    let (peak, last) = (f64::from(training.learning_rate), f64::from(training.final_rate_ratio));
    if step <= training.warmup_steps {
        return (peak * step as f64 / training.warmup_steps as f64) as f32;
    }
    let rest = training.steps.saturating_sub(training.warmup_steps).max(1);
    let part = ((step - training.warmup_steps) as f64 / rest as f64).min(1.0);
    let cosine = sin_cos(std::f64::consts::PI * part).1;
    (peak * (last + (1.0 - last) * 0.5 * (1.0 + cosine))) as f32
}
