//! The products of one step, exact and in bf16, one by one.

use std::fmt::Write as _;
use std::time::Instant;

use openledger_tensor::{Bf16Matrix, Lhs, Out, PackedMatrix, Random, Start, gemm, with_threads};

use crate::job::STEP_TOKENS;

/// Name, depth, columns.
const PRODUCTS: [(&str, usize, usize); 8] = [
    ("q k v", 256, 768),
    ("attention output", 256, 256),
    ("gate, up", 256, 1408),
    ("down", 704, 256),
    ("q k v, backward", 768, 256),
    ("gate, up, backward", 1408, 256),
    ("logits", 256, 4096),
    ("logits, backward", 4096, 256),
];

const REPEATS: usize = 6;

/// GFLOP/s of the best of several repeats.
pub(crate) fn compare() -> String {
    with_threads(1, || {
        let mut table = String::from(
            "| product | rows x depth x columns | exact GFLOP/s | bf16 GFLOP/s |\n|---|---|---|---|\n",
        );
        let mut random = Random::new(1, 1);
        for (name, k, n) in PRODUCTS {
            let rows = if n == 4096 || k == 4096 { 256 } else { STEP_TOKENS };
            let mut values = |n: usize| -> Vec<f32> { (0..n).map(|_| random.normal()).collect() };
            let (a, b, mut c) = (values(rows * k), values(k * n), vec![0.0; rows * n]);
            let packed = PackedMatrix::from_rows(&b, k, n, n);
            let rate = |work: &mut dyn FnMut(&mut [f32]), c: &mut [f32]| {
                let best = (0..REPEATS).map(|_| {
                    let start = Instant::now();
                    work(c);
                    start.elapsed().as_secs_f64()
                });
                2.0 * (rows * k * n) as f64 / best.fold(f64::INFINITY, f64::min) / 1e9
            };
            let mut exact = |c: &mut [f32]| {
                let lhs = Lhs::Rows { data: &a, stride: k };
                gemm(rows, lhs, &packed, Out { data: c, stride: n }, Start::Zero);
            };
            let exact = rate(&mut exact, &mut c);
            let fast = Bf16Matrix::from_packed(&packed).map_or("none".into(), |fast| {
                let mut product =
                    |c: &mut [f32]| fast.multiply(rows, &a, k, Out { data: c, stride: n });
                format!("{:.0}", rate(&mut product, &mut c))
            });
            let _ = writeln!(table, "| {name} | {rows} x {k} x {n} | {exact:.0} | {fast} |");
        }
        let _ = write!(table, "\nbf16 pays here: {}", Bf16Matrix::pays());
        table
    })
}
