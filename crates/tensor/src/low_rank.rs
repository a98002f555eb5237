//! Low-rank updates y += scale · (x · Aᵀ) · Bᵀ of a batch in which each row may have another adapter.
//!
//! ```text
//! x (a row, in the inner cache) ─▶ shrink: u = x · Aᵀ ─▶ expand: y += u · Bᵀ, one pass over each matrix
//! ```
//!
//! The arithmetic is small and the memory large: each row reads an adapter once. So matrices lie packed in the
//! order in which they are read, the sites that share an input side by side, and [`Ahead`](crate::Ahead)
//! brings them nearer while the product with the base runs.
//!
//! In bf16 every sum runs in order, which gives the bits of exact products with the stored values. In eight
//! bits, A has a scale for each row, B one for each rank and each sixteen outputs, x comes quantised, u is
//! taken in fifteen bits, and sums are integers.
//!
//! **Invariant:** a row of the result depends on that row and its own adapters alone, on every path.

mod bf16;
mod int8;
mod shape;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use shape::{LowRankForm, LowRankShape, LowRankSite};

use crate::parallel::{self, Shared};
use crate::{Int8Rows, Out};
use std::ops::Range;

/// Rows of one task.
const TASK_ROWS: usize = 8;

/// An adapter's part in one layer's linear layers with one input, and the rows it acts on.
#[derive(Clone, Debug)]
pub struct LowRankRows<'a> {
    /// Rows of the batch.
    pub rows: Range<usize>,
    /// What is packed in `bytes`.
    pub shape: &'a LowRankShape,
    /// As [`LowRankShape::pack`] wrote them.
    pub bytes: &'a [u8],
    /// The update is multiplied by it.
    pub weight: f32,
}

/// The rows x of a batch, as far as the adapters' forms need them.
#[derive(Clone, Copy, Debug)]
pub struct LowRankInput<'a> {
    /// [rows, inputs].
    pub x: &'a [f32],
    /// The same in eight bits; needed for adapters in eight bits.
    pub codes: Option<&'a Int8Rows>,
}

/// Continues y [rows, stride] with the low-rank updates of x. Updates of one row are added in the order given.
///
/// Jobs are in ascending order of their rows; a row may have several jobs if these are neighbours with
/// the same rows. Panics if a shape does not fit.
pub fn low_rank_update(jobs: &[LowRankRows<'_>], input: LowRankInput<'_>, y: Out<'_>) {
    let jobs: Vec<&LowRankRows<'_>> =
        jobs.iter().filter(|j| !j.rows.is_empty() && !j.shape.sites().is_empty()).collect();
    for job in &jobs {
        let shape = job.shape;
        assert!(job.bytes.len() == shape.bytes(), "bytes of the adapter");
        assert!(job.rows.end * shape.inputs() <= input.x.len(), "x is too short");
        let end = (job.rows.end - 1) * y.stride + shape.outputs_end();
        assert!(shape.outputs_end() <= y.stride && end <= y.data.len(), "y is too short");
        if shape.form() == LowRankForm::Int8 {
            let codes = input.codes.expect("x in eight bits");
            assert!(codes.depth() == shape.inputs() && codes.rows() >= job.rows.end, "codes of x");
        }
    }
    // Tasks are ranges of neighbouring rows, so that all updates of a row are made by one.
    let mut tasks: Vec<Vec<LowRankRows<'_>>> = Vec::new();
    let mut first = 0;
    while first < jobs.len() {
        let rows = jobs[first].rows.clone();
        let same = jobs[first..].iter().take_while(|j| j.rows == rows).count();
        for start in rows.clone().step_by(TASK_ROWS) {
            let part = start..rows.end.min(start + TASK_ROWS);
            let new = tasks.last().is_none_or(|t| {
                t.iter().map(|j| j.rows.len()).sum::<usize>() + part.len() > TASK_ROWS
            });
            if new {
                tasks.push(Vec::new());
            }
            let to = tasks.last_mut().expect("one was added");
            to.extend(
                jobs[first..][..same].iter().map(|j| LowRankRows { rows: part.clone(), ..**j }),
            );
        }
        first += same;
        assert!(jobs.get(first).is_none_or(|j| j.rows.start >= rows.end), "rows are not in order");
    }
    let (stride, shared) = (y.stride, Shared::new(y.data));
    parallel::for_each(tasks.len(), |i| run(&tasks[i], input, &shared, stride));
}

/// One task, whose rows no other touches. Neighbours in one form go together.
fn run(jobs: &[LowRankRows<'_>], input: LowRankInput<'_>, y: &Shared<'_>, stride: usize) {
    for jobs in jobs.chunk_by(|a, b| a.shape.form() == b.shape.form()) {
        match jobs[0].shape.form() {
            LowRankForm::Bf16 => bf16::update(jobs, input.x, y, stride),
            LowRankForm::Int8 => {
                int8::update(jobs, input.codes.expect("looked for by the caller"), y, stride);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::four_bit::widen;
    use crate::level::on_every_path;
    use crate::paged_kv::to_bf16;
    use crate::{Lhs, PackedMatrix, Random, Start, gemm};
    use proptest::prelude::*;

    struct Adapter {
        shape: LowRankShape,
        bytes: Vec<u8>,
        /// A [rank, inputs] and Bᵀ [rank, outputs] of each site, bf16 values.
        matrices: Vec<(Vec<f32>, Vec<f32>)>,
    }

    fn random(n: usize, random: &mut Random) -> Vec<f32> {
        (0..n).map(|_| widen(to_bf16(random.normal()))).collect()
    }

    fn adapter(form: LowRankForm, inputs: usize, outputs: &[usize], r: &mut Random) -> Adapter {
        let (mut sites, mut matrices, mut offset) = (Vec::new(), Vec::new(), 0);
        for outputs in outputs {
            if r.below(4) > 0 {
                let rank = 1 + r.below(20);
                sites.push(LowRankSite {
                    rank,
                    offset,
                    outputs: *outputs,
                    scale: 0.5 + r.uniform(),
                });
                matrices.push((random(rank * inputs, r), random(rank * outputs, r)));
            }
            offset += outputs;
        }
        let shape = LowRankShape::new(form, inputs, &sites);
        let mut bytes = vec![0; shape.bytes()];
        let parts: Vec<_> = matrices.iter().map(|(a, b)| (&a[..], &b[..])).collect();
        shape.pack(&parts, &mut bytes);
        assert!(shape.is_finite(&bytes));
        Adapter { shape, bytes, matrices }
    }

    /// Runs an update on every path, alone and in threads; all must have the same bits.
    fn same_everywhere(
        jobs: &[LowRankRows<'_>],
        input: LowRankInput<'_>,
        y: &[f32],
        stride: usize,
    ) -> Vec<f32> {
        let mut first: Option<Vec<f32>> = None;
        on_every_path(|level| {
            for threads in [1, 3] {
                let mut y = y.to_vec();
                crate::with_threads(threads, || {
                    low_rank_update(jobs, input, Out { data: &mut y, stride });
                });
                let bits = |y: &[f32]| y.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert!(bits(first.get_or_insert_with(|| y.clone())) == bits(&y), "{level:?}");
            }
        });
        first.expect("at least the scalar path")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn in_bf16_an_update_has_the_bits_of_exact_products(
            inputs in 1usize..300, outputs in prop::collection::vec(1usize..150, 1..4),
            lengths in prop::collection::vec(0usize..12, 1..8), seed in any::<u64>()
        ) {
            let mut r = Random::new(seed, 0);
            let stride = outputs.iter().sum::<usize>() + 5;
            let adapters: Vec<_> =
                lengths.iter().map(|_| adapter(LowRankForm::Bf16, inputs, &outputs, &mut r)).collect();
            let m: usize = lengths.iter().sum();
            let (x, y) = (random(m * inputs, &mut r), random(m * stride, &mut r));
            let (mut jobs, mut expected, mut row) = (Vec::new(), y.clone(), 0);
            for (adapter, n) in adapters.iter().zip(&lengths) {
                // A blend of an adapter with itself, now and then.
                for weight in [1.0, 0.5].into_iter().take(1 + r.below(2)) {
                    let rows = row..row + n;
                    jobs.push(LowRankRows { rows, shape: &adapter.shape, bytes: &adapter.bytes, weight });
                    for (site, (a, b)) in adapter.shape.sites().iter().zip(&adapter.matrices) {
                        let mut low = vec![0.0; n * site.rank];
                        let lhs = Lhs::Rows { data: &x[(row * inputs).min(x.len() - inputs.min(x.len()))..], stride: inputs };
                        let down = PackedMatrix::from_columns(a, inputs, site.rank, inputs);
                        gemm(*n, lhs, &down, Out { data: &mut low, stride: site.rank }, Start::Zero);
                        low.iter_mut().for_each(|u| *u *= site.scale * weight);
                        let up = PackedMatrix::from_rows(b, site.rank, site.outputs, site.outputs);
                        if *n > 0 {
                            let out = Out { data: &mut expected[row * stride + site.offset..], stride };
                            gemm(*n, Lhs::Rows { data: &low, stride: site.rank }, &up, out, Start::Continue);
                        }
                    }
                }
                row += n;
            }
            let input = LowRankInput { x: &x, codes: None };
            let y = same_everywhere(&jobs, input, &y, stride);
            prop_assert!(y.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()));
        }

        #[test]
        fn in_eight_bits_an_update_is_that_of_what_the_codes_stand_for(
            inputs in 1usize..600, outputs in prop::collection::vec(1usize..150, 1..4),
            m in 1usize..12, seed in any::<u64>()
        ) {
            let mut r = Random::new(seed, 0);
            let stride = outputs.iter().sum::<usize>() + 5;
            let adapters: Vec<_> =
                (0..m).map(|_| adapter(LowRankForm::Int8, inputs, &outputs, &mut r)).collect();
            let (x, y) = (random(m * inputs, &mut r), random(m * stride, &mut r));
            let mut codes = Int8Rows::default();
            codes.set(&x, m, inputs);
            let jobs: Vec<_> = adapters.iter().enumerate().map(|(i, a)| LowRankRows {
                rows: i..i + 1, shape: &a.shape, bytes: &a.bytes, weight: 0.75,
            }).collect();
            let input = LowRankInput { x: &x, codes: Some(&codes) };
            let found = same_everywhere(&jobs, input, &y, stride);
            let wide = codes.widen();
            for (i, adapter) in adapters.iter().enumerate() {
                let (mut expected, mut size) = (vec![0.0f64; stride], 1e-3f64);
                let kept = adapter.shape.unpack(&adapter.bytes).expect("finite");
                for (site, ((a, b), (a_before, _))) in
                    adapter.shape.sites().iter().zip(kept.iter().zip(&adapter.matrices))
                {
                    // Codes of A carry no scale of their own: it is with u.
                    prop_assert_eq!(a.len(), a_before.len());
                    for rank in 0..site.rank {
                        let u: f64 = (0..inputs)
                            .map(|k| f64::from(wide[i * inputs + k]) * f64::from(a[rank * inputs + k]))
                            .sum();
                        for j in 0..site.outputs {
                            let term = 0.75 * u * f64::from(b[rank * site.outputs + j]);
                            expected[site.offset + j] += term;
                            size = size.max(term.abs());
                        }
                    }
                }
                for (j, expected) in expected.iter().enumerate() {
                    let update = f64::from(found[i * stride + j]) - f64::from(y[i * stride + j]);
                    // u in 16,256 steps, twenty ranks at most.
                    prop_assert!((update - expected).abs() <= size * 2e-3 + 1e-5, "{} {}", update, expected);
                }
            }
        }
    }

    #[test]
    fn eight_bits_stand_for_nearly_the_same_matrices() {
        let mut r = Random::new(5, 0);
        for _ in 0..10 {
            let adapter = adapter(LowRankForm::Int8, 100, &[50, 33], &mut r);
            let kept = adapter.shape.unpack(&adapter.bytes).expect("finite");
            let sites = adapter.shape.sites().iter();
            for (site, ((a, b), (a_before, b_before))) in
                sites.zip(kept.iter().zip(&adapter.matrices))
            {
                // The product is what counts: A and B share scales.
                for (k, j) in [(0, 0), (7, 30), (99, 20)] {
                    let product = |a: &[f32], b: &[f32]| -> f32 {
                        (0..site.rank).map(|r| a[r * 100 + k] * b[r * site.outputs + j]).sum()
                    };
                    let (found, expected) =
                        (product(a, b), product(a_before, b_before) * site.scale);
                    assert!(
                        (found - expected).abs() < 0.1 * site.rank as f32,
                        "{found} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_not_finite_are_told() {
        let mut r = Random::new(6, 0);
        for form in [LowRankForm::Bf16, LowRankForm::Int8] {
            let mut adapter = loop {
                let adapter = adapter(form, 40, &[30], &mut r);
                if adapter.shape.bytes() > 0 {
                    break adapter;
                }
            };
            adapter.bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
            assert!(
                !adapter.shape.is_finite(&adapter.bytes)
                    && adapter.shape.unpack(&adapter.bytes).is_none()
            );
        }
    }
}
