//! GFLOP/s of the matrix product: `cargo run --release -p openledger-tensor --example gemm_speed`.
#![allow(clippy::print_stdout)]

use openledger_tensor::{Lhs, Out, PackedMatrix, Random, SimdLevel, Start, gemm, with_threads};
use std::time::Instant;

fn main() {
    let threads = std::env::args().nth(1).and_then(|t| t.parse().ok()).unwrap_or(1);
    println!("{:?}, {threads} thread(s)", SimdLevel::current());
    for (m, k, n, columns) in [
        (4096, 256, 256, false),
        (4096, 256, 768, false),
        (4096, 256, 1376, false),
        (4096, 688, 256, false),
        (256, 256, 4096, false),
        (256, 4096, 256, false),
        (4096, 256, 256, true),
        (688, 4096, 256, true),
        (4096, 256, 24, false),
        (4096, 8, 256, false),
        (1, 256, 768, false),
        (1, 256, 4096, false),
        (4, 256, 768, false),
        (16, 256, 768, false),
        (32, 688, 256, false),
    ] {
        let mut random = Random::new(1, 2);
        let a: Vec<f32> = (0..m * k).map(|_| random.normal()).collect();
        let b: Vec<f32> = (0..n * k).map(|_| random.normal()).collect();
        let b = PackedMatrix::from_columns(&b, k, n, k);
        let mut c = vec![0.0; m * n];
        let a = if columns {
            Lhs::Columns { data: &a, stride: m }
        } else {
            Lhs::Rows { data: &a, stride: k }
        };
        let flop = 2.0 * (m * n * k) as f64;
        let best = with_threads(threads, || {
            let mut best = f64::INFINITY;
            for _ in 0..15 {
                let repeats = (2e7 / flop).ceil() as usize;
                let start = Instant::now();
                for _ in 0..repeats {
                    gemm(m, a, &b, Out { data: &mut c, stride: n }, Start::Zero);
                }
                best = best.min(start.elapsed().as_secs_f64() / repeats as f64);
            }
            best
        });
        let layout = if columns { "A transposed" } else { "" };
        println!("{m:5} x {k:5} x {n:5} {layout:12} {:7.1} GFLOP/s", flop / best / 1e9);
    }
}
