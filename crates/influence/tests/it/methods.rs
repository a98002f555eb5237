//! Each method against its formula written out with whole matrices.

use openledger_influence::{
    Block, Checkpoint, Damped, Damping, DataInf, EkFac, GradCos, GradDot, Gradients, LayerRows,
    Method, Problem, Scores, TracIn, Trak,
};
use openledger_tensor::Random;

const RECORDS: usize = 7;
const ANSWERS: usize = 3;

fn random(rows: usize, columns: usize, seed: u64) -> Gradients {
    let mut random = Random::new(seed, 0);
    Gradients { columns, data: (0..rows * columns).map(|_| random.normal()).collect() }
}

fn blocks() -> Vec<Block> {
    vec![Block { range: 0..6, rows: 2, columns: 3 }, Block { range: 6..14, rows: 2, columns: 4 }]
}

struct Case {
    train: Gradients,
    queries: Gradients,
    blocks: Vec<Block>,
    likelihoods: Vec<f64>,
    checkpoints: Vec<Checkpoint>,
}

impl Case {
    fn new() -> Self {
        let checkpoint = |rate, seed| Checkpoint {
            rate,
            train: random(RECORDS, 14, seed),
            queries: random(ANSWERS, 14, seed + 1),
        };
        Self {
            train: random(RECORDS, 14, 1),
            queries: random(ANSWERS, 14, 2),
            blocks: blocks(),
            likelihoods: (0..RECORDS).map(|i| i as f64 / 10.0).collect(),
            checkpoints: vec![checkpoint(0.1, 3), checkpoint(0.02, 5)],
        }
    }

    fn problem(&self) -> Problem<'_> {
        Problem {
            train: &self.train,
            queries: &self.queries,
            blocks: &self.blocks,
            likelihoods: &self.likelihoods,
            checkpoints: &self.checkpoints,
        }
    }
}

fn product(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn agree(scores: &Scores, expected: impl Fn(usize, usize) -> f64) {
    let size = scores.data.iter().fold(0.0f64, |a, b| a.max(b.abs()));
    assert!(size > 0.0);
    for q in 0..ANSWERS {
        for i in 0..RECORDS {
            let (found, expected) = (scores.row(q)[i], expected(q, i));
            assert!((found - expected).abs() < 1e-5 * size, "{q} {i}: {found} {expected}");
        }
    }
}

/// The inverse of A + λ, by Gauss and Jordan.
fn inverse(a: &[f64], n: usize, damping: f64) -> Vec<f64> {
    let mut left = a.to_vec();
    (0..n).for_each(|i| left[i * n + i] += damping);
    let mut right = vec![0.0; n * n];
    (0..n).for_each(|i| right[i * n + i] = 1.0);
    for column in 0..n {
        let pivot = left[column * n + column];
        for k in 0..n {
            left[column * n + k] /= pivot;
            right[column * n + k] /= pivot;
        }
        for row in (0..n).filter(|row| *row != column) {
            let factor = left[row * n + column];
            for k in 0..n {
                left[row * n + k] -= factor * left[column * n + k];
                right[row * n + k] -= factor * right[column * n + k];
            }
        }
    }
    right
}

/// xᵀ·A·y.
fn form(x: &[f32], a: &[f64], y: &[f32]) -> f64 {
    let n = x.len();
    let row = |i: usize| (0..n).map(|j| a[i * n + j] * f64::from(y[j])).sum::<f64>();
    (0..n).map(|i| f64::from(x[i]) * row(i)).sum()
}

#[test]
fn inner_products_are_what_they_are_called() {
    let case = Case::new();
    let (train, queries) = (&case.train, &case.queries);
    let dot = |q, i| product(queries.row(q), train.row(i));
    agree(&GradDot.scores(&case.problem()).expect("scores"), dot);
    let length = |x: &[f32]| product(x, x).sqrt();
    agree(&GradCos.scores(&case.problem()).expect("scores"), |q, i| {
        dot(q, i) / length(queries.row(q)) / length(train.row(i))
    });
    agree(&TracIn.scores(&case.problem()).expect("scores"), |q, i| {
        let one = |c: &Checkpoint| c.rate * product(c.queries.row(q), c.train.row(i));
        case.checkpoints.iter().map(one).sum()
    });
    let none = Problem { checkpoints: &[], ..case.problem() };
    assert!(TracIn.scores(&none).is_err());
}

#[test]
fn data_inf_is_the_mean_of_the_inverses_of_single_records() {
    let case = Case::new();
    let damping = 0.3;
    let scores = DataInf { damping: Damping::Fixed(damping) }.scores(&case.problem());
    agree(&scores.expect("scores"), |q, k| {
        let mut score = 0.0;
        for block in &case.blocks {
            let part = |g: &Gradients, row: usize| g.row(row)[block.range.clone()].to_vec();
            let n = block.range.len();
            for i in 0..RECORDS {
                let g = part(&case.train, i);
                let outer: Vec<f64> =
                    (0..n * n).map(|at| f64::from(g[at / n]) * f64::from(g[at % n])).collect();
                let inverse = inverse(&outer, n, damping);
                score += form(&part(&case.queries, q), &inverse, &part(&case.train, k));
            }
        }
        score / RECORDS as f64
    });
}

#[test]
fn trak_inverts_the_projected_kernel() {
    let case = Case::new();
    let (k, damping) = (5, 0.7);
    let trak = Trak { dimensions: k, damping: Damping::Fixed(damping), seed: 4 };
    let scale = 1.0 / 14f64.sqrt();
    let project = |row: &[f32]| -> Vec<f32> {
        (0..k).map(|d| (product(row, &trak.projection(d, 14)) * scale) as f32).collect()
    };
    let train: Vec<Vec<f32>> = (0..RECORDS).map(|i| project(case.train.row(i))).collect();
    let mut kernel = vec![0.0; k * k];
    for row in &train {
        for (at, sum) in kernel.iter_mut().enumerate() {
            *sum += f64::from(row[at / k]) * f64::from(row[at % k]);
        }
    }
    let inverse = inverse(&kernel, k, damping);
    agree(&trak.scores(&case.problem()).expect("scores"), |q, i| {
        let query = project(case.queries.row(q));
        form(&query, &inverse, &train[i]) * (1.0 - case.likelihoods[i])
    });
}

#[test]
fn ek_fac_is_the_exact_curvature_where_inputs_and_outputs_are_independent() {
    // One output: the gradient is the input times a sign, so the factors hold all there is, and the
    // eigenvectors of the inputs diagonalise the Fisher matrix.
    let inputs = random(RECORDS, 4, 8);
    let outputs =
        Gradients { columns: 1, data: (0..RECORDS).map(|i| [1.0, -1.0][i % 2]).collect() };
    let times = |row: usize| inputs.row(row).iter().map(move |x| x * [1.0, -1.0][row % 2]);
    let train = Gradients { columns: 4, data: (0..RECORDS).flat_map(times).collect() };
    let queries = random(ANSWERS, 4, 9);
    let blocks = [Block { range: 0..4, rows: 1, columns: 4 }];
    let problem = Problem {
        train: &train,
        queries: &queries,
        blocks: &blocks,
        likelihoods: &[],
        checkpoints: &[],
    };
    let mut fisher = vec![0.0; 16];
    for i in 0..RECORDS {
        for (at, sum) in fisher.iter_mut().enumerate() {
            let g = train.row(i);
            *sum += f64::from(g[at / 4]) * f64::from(g[at % 4]) / RECORDS as f64;
        }
    }
    // The corrected eigenvalues keep the diagonal only, which in this basis is everything.
    let inverse = inverse(&fisher, 4, 0.2);
    let method = EkFac { damping: Damping::Fixed(0.2) };
    let exact = |q: usize, i: usize| form(queries.row(q), &inverse, train.row(i));
    let layers = [LayerRows { inputs, outputs }];
    agree(&method.scores_with_rows(&problem, &layers).expect("scores"), exact);
    agree(&method.scores(&problem).expect("scores"), exact);
}

#[test]
fn scores_of_records_add_up_to_those_of_their_players() {
    let scores = Scores { columns: 3, data: vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0] };
    assert_eq!(scores.per_player(&[1, 0, 1], 2), [[2.0, 5.0], [16.0, 40.0]]);
}

#[test]
fn several_dampings_at_once_are_each_as_it_would_be_alone() {
    let case = Case::new();
    let dampings = [Damping::Relative(0.01), Damping::Fixed(0.7), Damping::Relative(100.0)];
    let check = |name: &str, at_once: Vec<Scores>, alone: &dyn Fn(Damping) -> Scores| {
        assert_eq!(at_once.len(), dampings.len());
        for (together, damping) in at_once.iter().zip(dampings) {
            assert_eq!(*together, alone(damping), "{name} under {damping:?}");
        }
        assert_ne!(at_once[0], at_once[1], "{name}: the damping matters");
    };
    let problem = case.problem();
    let data_inf = |damping| DataInf { damping };
    let ek_fac = |damping| EkFac { damping };
    let trak = |damping| Trak { dimensions: 5, damping, seed: 4 };
    let all = data_inf(dampings[0]).scores_under(&problem, &dampings).expect("scores");
    check("DataInf", all, &|d| data_inf(d).scores(&problem).expect("scores"));
    let all = ek_fac(dampings[0]).scores_under(&problem, &dampings).expect("scores");
    check("EK-FAC", all, &|d| ek_fac(d).scores(&problem).expect("scores"));
    let all = trak(dampings[0]).scores_under(&problem, &dampings).expect("scores");
    check("TRAK", all, &|d| trak(d).scores(&problem).expect("scores"));
}

#[test]
fn a_heavy_damping_leaves_the_inner_product_of_each_matrix() {
    let case = Case::new();
    let damping = 1e6;
    let problem = case.problem();
    for scores in [
        EkFac { damping: Damping::Fixed(damping) }.scores(&problem).expect("scores"),
        DataInf { damping: Damping::Fixed(damping) }.scores(&problem).expect("scores"),
    ] {
        agree(&scores, |q, i| product(case.queries.row(q), case.train.row(i)) / damping);
    }
}
