//! What can go wrong.

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model refused its input.
    #[error(transparent)]
    Model(#[from] openledger_model::Error),
    /// Two inputs do not belong together.
    #[error("{what}: {found} given, {expected} expected")]
    Shape {
        /// Which.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A method needs something that the problem does not have.
    #[error("{method} needs {what}")]
    Missing {
        /// Which method.
        method: &'static str,
        /// What it needs.
        what: &'static str,
    },
    /// A matrix cannot be inverted.
    #[error("{method}: the damped kernel is not positive definite; raise the damping")]
    Singular {
        /// Which method.
        method: &'static str,
    },
    /// The eigenvectors of a curvature cannot be found.
    #[error(
        "a matrix of {rows} rows has no eigenvectors: the gradients hold numbers that are not finite"
    )]
    Eigen {
        /// Its rows.
        rows: usize,
    },
}

pub(crate) fn same(what: &'static str, found: usize, expected: usize) -> Result<(), Error> {
    if found == expected { Ok(()) } else { Err(Error::Shape { what, found, expected }) }
}
