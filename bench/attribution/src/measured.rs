//! What is kept of one task and seed: enough to judge every method without training anything again.

use serde::{Deserialize, Serialize};

use crate::subsets::Mask;

/// One task under one seed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) task: String,
    pub(crate) seed: u64,
    pub(crate) players: Vec<String>,
    pub(crate) records: usize,
    pub(crate) steps: usize,
    pub(crate) queries: Vec<Asked>,
    /// Subsets outside every design.
    pub(crate) held_out: Vec<Mask>,
    /// Every run there is: the subset, and v(S) of each question in nats.
    pub(crate) runs: Vec<(Mask, Vec<f64>)>,
    pub(crate) methods: Vec<Method>,
    /// Methods with a damping, under each that was tried, lightest first.
    #[serde(default)]
    pub(crate) tried: Vec<Tried>,
    /// v(S) of held-out subsets after training from other initial values in another order, in nats.
    #[serde(default)]
    pub(crate) reseeded: Vec<(Mask, Vec<f64>)>,
    /// Processor seconds of training on everybody.
    pub(crate) training_seconds: f64,
}

/// A question.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) owner: usize,
    pub(crate) seen: bool,
    /// ε.
    pub(crate) explained: f64,
}

/// What one method said.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Method {
    pub(crate) name: String,
    /// `[question][player]`.
    pub(crate) scores: Vec<Vec<f64>>,
    /// Shares of the data pot `[question][player]`, where the method pays.
    pub(crate) shares: Option<Vec<Vec<f64>>>,
    pub(crate) cost: Cost,
}

/// What a method said under one damping.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Tried {
    pub(crate) method: String,
    /// Part of the mean eigenvalue.
    pub(crate) damping: f64,
    /// `[question][player]`.
    pub(crate) scores: Vec<Vec<f64>>,
}

/// What one method costs.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// In trainings on everybody, the published adapter included.
    pub(crate) trainings: f64,
    /// Processor seconds once per model beside training.
    pub(crate) setup_seconds: f64,
    /// Processor seconds per answer.
    pub(crate) answer_seconds: f64,
    /// Bytes kept between answers.
    pub(crate) bytes: u64,
}

/// The design that is used, of the smallest order with room.
pub(crate) const OURS: &str = "design, 16 runs";
/// Leave-one-out retraining.
pub(crate) const LEAVE_ONE_OUT: &str = "leave-one-out";
