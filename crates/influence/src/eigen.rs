//! Eigenvectors of small symmetric matrices.

/// Sweeps after which rotations have long stopped to matter.
const SWEEPS_MAX: usize = 60;

/// Eigenvalues and eigenvectors of a symmetric matrix [n, n]: vector k is row k of the second result.
///
/// Cyclic Jacobi rotations in f64: slow beyond a few hundred rows, but each vector is as exact as f64
/// allows. Source: Golub and Van Loan, section 8.5.
pub fn eigen(matrix: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut a = matrix.to_vec();
    let mut vectors = vec![0.0; n * n];
    (0..n).for_each(|i| vectors[i * n + i] = 1.0);
    let size: f64 = a.iter().map(|x| x * x).sum::<f64>().sqrt();
    for _ in 0..SWEEPS_MAX {
        let mut largest = 0.0f64;
        for p in 0..n {
            for q in p + 1..n {
                let off = a[p * n + q];
                largest = largest.max(off.abs());
                if off.abs() <= 1e-17 * size {
                    continue;
                }
                let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * off);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let cos = 1.0 / (t * t + 1.0).sqrt();
                rotate(&mut a, &mut vectors, n, (p, q), (cos, t * cos));
            }
        }
        if largest <= 1e-15 * size {
            break;
        }
    }
    ((0..n).map(|i| a[i * n + i]).collect(), vectors)
}

/// A ← Jᵀ·A·J and V ← Jᵀ·V, for the rotation of rows p < q that makes A[p, q] zero.
fn rotate(a: &mut [f64], v: &mut [f64], n: usize, (p, q): (usize, usize), (cos, sin): (f64, f64)) {
    let rows = |m: &mut [f64]| {
        let (low, high) = m.split_at_mut(q * n);
        for (x, y) in low[p * n..][..n].iter_mut().zip(&mut high[..n]) {
            (*x, *y) = (cos * *x - sin * *y, sin * *x + cos * *y);
        }
    };
    rows(a);
    rows(v);
    for row in a.chunks_exact_mut(n) {
        (row[p], row[q]) = (cos * row[p] - sin * row[q], sin * row[p] + cos * row[q]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openledger_tensor::Random;

    #[test]
    fn the_vectors_diagonalise_the_matrix() {
        for n in [1, 2, 7, 24] {
            let mut random = Random::new(n as u64, 0);
            let mut a = vec![0.0; n * n];
            for i in 0..n {
                for j in 0..=i {
                    let x = f64::from(random.normal());
                    (a[i * n + j], a[j * n + i]) = (x, x);
                }
            }
            let (values, vectors) = eigen(&a, n);
            for (k, value) in values.iter().enumerate() {
                let vector = &vectors[k * n..][..n];
                let length: f64 = vector.iter().map(|x| x * x).sum();
                assert!((length - 1.0).abs() < 1e-12);
                for i in 0..n {
                    let product: f64 = (0..n).map(|j| a[i * n + j] * vector[j]).sum();
                    assert!((product - value * vector[i]).abs() < 1e-11, "{n} {k} {i}");
                }
            }
        }
    }
}
