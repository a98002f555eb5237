//! Hadamard matrices of order up to 64: Sylvester, Paley I and II, doubling.
//!
//! Sources: Sylvester 1867; Paley 1933, "On orthogonal matrices", J. Math. Phys. 12.

/// How a matrix of some order is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Construction {
    /// Powers of two.
    Sylvester,
    /// q + 1 for a prime q ≡ 3 mod 4.
    PaleyOne(usize),
    /// 2(q + 1) for a prime q ≡ 1 mod 4.
    PaleyTwo(usize),
    /// Twice an order that has a construction.
    Doubling,
}

impl Construction {
    /// The construction used for `order`. `None` where there is none here: the order is not 1, 2 or a
    /// multiple of 4, is above 64, or is 52, which needs the field of 25 elements.
    pub(super) fn of(order: u8) -> Option<Self> {
        let order = usize::from(order);
        match order {
            1..=64 if order.is_power_of_two() => Some(Self::Sylvester),
            12..=64 if order % 4 == 0 => {
                let (one, two) = (order - 1, order / 2 - 1);
                if is_prime(one) && one % 4 == 3 {
                    Some(Self::PaleyOne(one))
                } else if is_prime(two) && two % 4 == 1 {
                    Some(Self::PaleyTwo(two))
                } else {
                    Self::of((order / 2) as u8).map(|_| Self::Doubling)
                }
            }
            _ => None,
        }
    }

    /// Which natural column stands at each place of the design.
    ///
    /// Players take the first columns, so these must tell all runs apart, with interactions aliased to
    /// as few others as possible. Sylvester: column c is the word (1, c) over GF(2); a basis first makes
    /// the design a full factorial of the first players, then words of many letters follow. Doubling:
    /// column m/2 tells the two halves apart and comes second.
    pub(super) fn column_order(self, order: usize) -> Vec<usize> {
        let mut columns: Vec<usize> = (0..order).collect();
        match self {
            Self::Sylvester => columns.sort_by_key(|c| match c.count_ones() {
                letters @ (0 | 1) => (letters, *c),
                letters => (2 + usize::BITS - letters, *c),
            }),
            Self::Doubling => columns[1..=order / 2].rotate_right(1),
            Self::PaleyOne(_) | Self::PaleyTwo(_) => {}
        }
        columns
    }
}

/// Rows of a Hadamard matrix; bit c of row r is set where `H[r,c] = +1`. First row and first column are
/// all ones. `None` as in [`Construction::of`].
pub(super) fn rows(order: u8) -> Option<Vec<u64>> {
    let construction = Construction::of(order)?;
    let signs = signs(construction, usize::from(order))?;
    let columns = construction.column_order(usize::from(order));
    Some(signs.iter().map(|row| pack(row, &columns)).collect())
}

/// Signs in the natural order of the construction, normalised.
fn signs(construction: Construction, order: usize) -> Option<Vec<Vec<bool>>> {
    let sign: Box<dyn Fn(usize, usize) -> bool> = match construction {
        Construction::Sylvester => Box::new(|r, c| (r & c).count_ones() % 2 == 0),
        Construction::PaleyOne(q) => Box::new(paley_one(q)),
        Construction::PaleyTwo(q) => Box::new(paley_two(q)),
        Construction::Doubling => {
            let half = order / 2;
            let quarter = signs(Construction::of(half as u8)?, half)?;
            Box::new(move |r, c| quarter[r % half][c % half] != (r >= half && c >= half))
        }
    };
    // Flipping rows and columns keeps a matrix Hadamard.
    let normal = |r, c| sign(r, c) ^ !sign(r, 0) ^ !sign(0, c) ^ !sign(0, 0);
    Some((0..order).map(|r| (0..order).map(|c| normal(r, c)).collect()).collect())
}

/// H = I + S, S skew, of order q + 1.
fn paley_one(q: usize) -> impl Fn(usize, usize) -> bool {
    let residue = residues(q);
    move |r, c| match (r, c) {
        (0, _) => true,
        (_, 0) => false,
        _ => r == c || residue[(q + r - c) % q],
    }
}

/// H = S ⊗ [1 1; 1 −1] + I ⊗ [1 −1; −1 −1], S the symmetric conference matrix of order q + 1.
fn paley_two(q: usize) -> impl Fn(usize, usize) -> bool {
    let residue = residues(q);
    move |r, c| {
        let (row, column, both_odd) = (r / 2, c / 2, r % 2 == 1 && c % 2 == 1);
        match (row, column) {
            _ if row == column => r % 2 == 0 && c % 2 == 0,
            (0, _) | (_, 0) => !both_odd,
            _ => residue[(q + row - column) % q] != both_odd,
        }
    }
}

/// Which of 0..q are non-zero squares modulo the prime q.
fn residues(q: usize) -> Vec<bool> {
    let mut residue = vec![false; q];
    (1..q).for_each(|x| residue[x * x % q] = true);
    residue
}

fn is_prime(n: usize) -> bool {
    n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

fn pack(row: &[bool], columns: &[usize]) -> u64 {
    columns.iter().enumerate().fold(0, |bits, (place, &c)| bits | u64::from(row[c]) << place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_with_a_construction_gives_a_normalised_hadamard_matrix() {
        let mut found = Vec::new();
        for order in 0..=u8::MAX {
            let Some(rows) = rows(order) else { continue };
            let mask = u64::MAX >> (64 - order);
            assert_eq!(rows[0], mask, "first row of order {order}");
            assert!(rows.iter().all(|row| row & 1 == 1 && row & !mask == 0));
            for (i, a) in rows.iter().enumerate() {
                for b in &rows[..i] {
                    let agree = (!(a ^ b) & mask).count_ones();
                    assert_eq!(agree * 2, u32::from(order), "rows of order {order} are orthogonal");
                }
            }
            found.push(order);
        }
        assert_eq!(found, [1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 56, 60, 64]);
    }
}
