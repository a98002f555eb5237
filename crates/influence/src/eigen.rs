//! Eigenvectors of symmetric matrices.

use nalgebra::{DMatrix, SymmetricEigen};

use crate::Error;

/// Steps of the iteration per row; a few always do where all numbers are finite.
const STEPS_PER_ROW: usize = 64;

/// Eigenvalues and eigenvectors of a symmetric matrix [n, n]: vector k is row k of the second result.
///
/// By nalgebra: Householder's tridiagonal form, then implicit QR, both in f64. Errors: [`Error::Eigen`] for a
/// matrix that holds a number which is not finite.
pub fn eigen(matrix: &[f64], n: usize) -> Result<(Vec<f64>, Vec<f64>), Error> {
    crate::error::same("numbers of the matrix", matrix.len(), n * n)?;
    if !matrix.iter().all(|x| x.is_finite()) {
        return Err(Error::Eigen { rows: n });
    }
    let matrix = DMatrix::from_row_slice(n, n, matrix);
    let SymmetricEigen { eigenvalues, eigenvectors } =
        SymmetricEigen::try_new(matrix, f64::EPSILON, STEPS_PER_ROW * n)
            .ok_or(Error::Eigen { rows: n })?;
    // Stored column by column, and the columns are the vectors.
    Ok((eigenvalues.as_slice().to_vec(), eigenvectors.as_slice().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use openledger_tensor::Random;

    /// ΣggT of `rank` random rows: with fewer of them than `n`, what few records give.
    fn second_moment(n: usize, rank: usize) -> Vec<f64> {
        let mut random = Random::new(n as u64, 0);
        let mut a = vec![0.0; n * n];
        for _ in 0..rank {
            let row: Vec<f64> = (0..n).map(|_| f64::from(random.normal())).collect();
            for i in 0..n {
                (0..n).for_each(|j| a[i * n + j] += row[i] * row[j]);
            }
        }
        a
    }

    #[test]
    fn the_vectors_diagonalise_the_matrix() {
        for (n, rank) in [(1, 1), (2, 5), (7, 3), (24, 30), (160, 40)] {
            let a = second_moment(n, rank);
            let size: f64 = a.iter().map(|x| x * x).sum::<f64>().sqrt();
            let (values, vectors) = eigen(&a, n).expect("finite");
            for (k, value) in values.iter().enumerate() {
                let vector = &vectors[k * n..][..n];
                for (j, other) in vectors.chunks_exact(n).enumerate() {
                    let product: f64 = vector.iter().zip(other).map(|(x, y)| x * y).sum();
                    assert!((product - f64::from(u8::from(j == k))).abs() < 1e-12, "{n} {k} {j}");
                }
                for i in 0..n {
                    let product: f64 = (0..n).map(|j| a[i * n + j] * vector[j]).sum();
                    assert!((product - value * vector[i]).abs() < 1e-12 * size, "{n} {k} {i}");
                }
            }
            let null = values.iter().filter(|value| value.abs() < 1e-12 * size).count();
            assert_eq!(null, n.saturating_sub(rank));
        }
    }

    #[test]
    fn a_matrix_without_numbers_is_refused() {
        let refused = eigen(&[1.0, f64::NAN, f64::NAN, 1.0], 2);
        assert!(matches!(refused, Err(Error::Eigen { rows: 2 })));
        assert!(matches!(eigen(&[1.0; 3], 2), Err(Error::Shape { .. })));
    }
}
