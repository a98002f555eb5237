//! Tensors and our scores on them, for comparison with dattri on the same tensors.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use eyre::Result;
use openledger_influence::{
    Block, Checkpoint, Damping, DataInf, EkFac, GradCos, GradDot, Gradients, LayerRows, Method,
    Problem, Scores, TracIn, Trak, blocks, example_gradients, likelihoods, replay,
};
use openledger_tensor::Random;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

use crate::methods::{checkpoints, questions, records};
use crate::task::Task;

/// Every fourth record and question: dattri's DataInf takes minutes for all of them.
const THINNED: usize = 4;
const PROJECTED: usize = 32;
const DATA_INF_DAMPING: f64 = 0.02;
const TRAK_DAMPING: f64 = 0.5;
const EK_FAC_DAMPING: f64 = 0.05;
/// Inputs and outputs of the layers through which EK-FAC is compared; the last has more inputs than there
/// are records, as the matrices of a real base have.
const LAYERS: [(usize, usize); 4] = [(12, 5), (5, 9), (9, 4), (160, 6)];

/// Tensors by name, with their shapes.
#[derive(Default)]
struct Tensors(BTreeMap<String, (Vec<usize>, Vec<u8>)>);

impl Tensors {
    fn add(&mut self, name: &str, shape: [usize; 2], data: impl Iterator<Item = f32>) {
        let bytes = data.flat_map(f32::to_le_bytes).collect();
        self.0.insert(name.into(), (shape.to_vec(), bytes));
    }

    fn gradients(&mut self, name: &str, g: &Gradients) {
        self.add(name, [g.rows(), g.columns], g.data.iter().copied());
    }

    fn scores(&mut self, name: &str, scores: &Scores) {
        let rows = scores.data.len() / scores.columns;
        self.add(name, [rows, scores.columns], scores.data.iter().map(|x| *x as f32));
    }

    fn write(&self, path: &Path) -> Result<()> {
        let views: Vec<(&str, TensorView<'_>)> = self
            .0
            .iter()
            .map(|(name, (shape, bytes))| {
                Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?))
            })
            .collect::<Result<_>>()?;
        Ok(fs::write(path, safetensors::serialize(views, None)?)?)
    }
}

/// Writes `tensors.safetensors` and `settings.json`: gradients of a task's records and questions, the
/// projection of TRAK, rows of layers for EK-FAC, and what our methods make of them (`ours.*`).
pub(crate) fn export(mut task: Task, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    task.examples = task.examples.into_iter().step_by(THINNED).collect();
    task.queries = task.queries.into_iter().step_by(THINNED).collect();
    let task = &task;
    let everyone = vec![true; task.players.len()];
    let history = replay(&task.base, &task.recipe, &task.examples, &everyone)?;
    let (layout, values) = (&history.layout, history.values());
    let train = example_gradients(&task.base, layout, values, &records(task))?;
    let queries = example_gradients(&task.base, layout, values, &questions(task))?;
    let likelihoods = likelihoods(&task.base, layout, values, &records(task))?;
    let checkpoints = checkpoints(task, &history)?;
    let blocks = blocks(task.base.config(), task.recipe.rank, &task.recipe.target_modules);
    let problem = Problem {
        train: &train,
        queries: &queries,
        blocks: &blocks,
        likelihoods: &likelihoods,
        checkpoints: &checkpoints,
    };
    let mut tensors = Tensors::default();
    tensors.gradients("train", &train);
    tensors.gradients("queries", &queries);
    let weights = likelihoods.iter().map(|p| *p as f32);
    tensors.add("likelihoods", [1, likelihoods.len()], weights);
    for (i, Checkpoint { train, queries, .. }) in checkpoints.iter().enumerate() {
        tensors.gradients(&format!("checkpoint.{i}.train"), train);
        tensors.gradients(&format!("checkpoint.{i}.queries"), queries);
    }
    let trak =
        Trak { dimensions: PROJECTED, damping: Damping::Fixed(TRAK_DAMPING), seed: task.seed };
    let signs = (0..PROJECTED).flat_map(|d| trak.projection(d, train.columns));
    tensors.add("projection", [PROJECTED, train.columns], signs);
    tensors.scores("ours.GradDot", &GradDot.scores(&problem)?);
    tensors.scores("ours.GradCos", &GradCos.scores(&problem)?);
    tensors.scores("ours.TracIn", &TracIn.scores(&problem)?);
    let data_inf = DataInf { damping: Damping::Fixed(DATA_INF_DAMPING) };
    tensors.scores("ours.DataInf", &data_inf.scores(&problem)?);
    tensors.scores("ours.TRAK", &trak.scores(&problem)?);
    ek_fac(&mut tensors, train.rows(), queries.rows())?;
    tensors.write(&dir.join("tensors.safetensors"))?;
    let settings = json!({
        "blocks": blocks.iter().map(|block| block.range.len()).collect::<Vec<_>>(),
        "rates": checkpoints.iter().map(|c| c.rate).collect::<Vec<_>>(),
        "layers": LAYERS,
        "data_inf_damping": DATA_INF_DAMPING,
        "trak_damping": TRAK_DAMPING,
        "ek_fac_damping": EK_FAC_DAMPING,
    });
    fs::write(dir.join("settings.json"), serde_json::to_vec_pretty(&settings)?)?;
    println!("wrote {}", dir.display());
    Ok(())
}

/// EK-FAC needs what passed through each layer: random rows do, since only the arithmetic is compared.
fn ek_fac(tensors: &mut Tensors, records: usize, answers: usize) -> Result<()> {
    let mut random = Random::new(1, 1);
    let mut rows = |count: usize, columns: usize| Gradients {
        columns,
        data: (0..count * columns).map(|_| random.normal()).collect(),
    };
    let (mut layers, mut asked) = (Vec::new(), Vec::new());
    for (inputs, outputs) in LAYERS {
        layers.push(LayerRows { inputs: rows(records, inputs), outputs: rows(records, outputs) });
        asked.push(LayerRows { inputs: rows(answers, inputs), outputs: rows(answers, outputs) });
    }
    for (kind, layers) in [("train", &layers), ("queries", &asked)] {
        for (i, LayerRows { inputs, outputs }) in layers.iter().enumerate() {
            tensors.gradients(&format!("layer.{i}.{kind}.inputs"), inputs);
            tensors.gradients(&format!("layer.{i}.{kind}.outputs"), outputs);
        }
    }
    let mut at = 0;
    let blocks: Vec<Block> = LAYERS
        .iter()
        .map(|(inputs, outputs)| {
            at += inputs * outputs;
            Block { range: at - inputs * outputs..at, rows: *outputs, columns: *inputs }
        })
        .collect();
    let (train, queries) = (outer(&layers, at), outer(&asked, at));
    let problem = Problem {
        train: &train,
        queries: &queries,
        blocks: &blocks,
        likelihoods: &[],
        checkpoints: &[],
    };
    let method = EkFac { damping: Damping::Fixed(EK_FAC_DAMPING) };
    tensors.scores("ours.EK-FAC", &method.scores_with_rows(&problem, &layers)?);
    Ok(())
}

/// The gradient of each record: output gradient times input, layer by layer.
fn outer(layers: &[LayerRows], columns: usize) -> Gradients {
    let mut data = Vec::new();
    for row in 0..layers.first().map_or(0, |layer| layer.inputs.rows()) {
        for LayerRows { inputs, outputs } in layers {
            for output in outputs.row(row) {
                data.extend(inputs.row(row).iter().map(|input| input * output));
            }
        }
    }
    Gradients { columns, data }
}
