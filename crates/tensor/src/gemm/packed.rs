//! The right operand of a product, laid out for the tile loop.

use crate::simd::LANES;

/// Sixteen f32, aligned to a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Lanes([f32; LANES]);

/// B [depth, columns] in panels of sixteen columns: panel p holds, for each k, B[k, 16p..16p + 16].
/// The last panel is padded with zeros.
#[derive(Clone, Debug, Default)]
pub struct PackedMatrix {
    depth: usize,
    columns: usize,
    /// Rows that fit in a panel, at least `depth`.
    capacity: usize,
    panels: Vec<Lanes>,
}

impl PackedMatrix {
    /// From row-major B: B[k, j] at `k · stride + j`.
    pub fn from_rows(b: &[f32], depth: usize, columns: usize, stride: usize) -> Self {
        let mut packed = Self::default();
        packed.set_rows(b, depth, columns, stride);
        packed
    }

    /// From the transpose, which is how linear layers store their weight [out, in]: B[k, j] at
    /// `j · stride + k`.
    pub fn from_columns(b: &[f32], depth: usize, columns: usize, stride: usize) -> Self {
        let mut packed = Self::default();
        packed.set_columns(b, depth, columns, stride);
        packed
    }

    /// As [`Self::from_rows`], in place. Panics if B is too short for its shape.
    pub fn set_rows(&mut self, b: &[f32], depth: usize, columns: usize, stride: usize) {
        assert!(depth == 0 || b.len() >= (depth - 1) * stride + columns, "B is too short");
        assert!(stride >= columns, "rows of B overlap");
        self.reshape(depth, columns);
        let capacity = self.capacity;
        for (k, row) in b.chunks(stride.max(1)).take(depth).enumerate() {
            let (whole, rest) = row[..columns].as_chunks::<LANES>();
            for (part, to) in whole.iter().zip(self.panels[k..].iter_mut().step_by(capacity)) {
                to.0 = *part;
            }
            if !rest.is_empty() {
                self.panels[whole.len() * capacity + k].0[..rest.len()].copy_from_slice(rest);
            }
        }
    }

    /// As [`Self::from_columns`], in place. Panics if B is too short for its shape.
    pub fn set_columns(&mut self, b: &[f32], depth: usize, columns: usize, stride: usize) {
        self.reshape(depth, columns);
        if depth == 0 {
            return;
        }
        for (p, panel) in self.panels.chunks_exact_mut(self.capacity).enumerate() {
            let rows: Vec<&[f32]> = (p * LANES..columns.min((p + 1) * LANES))
                .map(|j| &b[j * stride..][..depth])
                .collect();
            // A cache line of each source row at a time.
            for k0 in (0..depth).step_by(LANES) {
                let k1 = depth.min(k0 + LANES);
                for (lane, row) in rows.iter().enumerate() {
                    for (to, x) in panel[k0..k1].iter_mut().zip(&row[k0..k1]) {
                        to.0[lane] = *x;
                    }
                }
            }
        }
    }

    /// What [`Self::from_columns`] took: the transpose [columns, depth], row-major.
    pub fn to_columns(&self) -> Vec<f32> {
        let mut b = Vec::with_capacity(self.columns * self.depth);
        for j in 0..self.columns {
            let panel = &self.panels[j / LANES * self.capacity..][..self.depth];
            b.extend(panel.iter().map(|row| row.0[j % LANES]));
        }
        b
    }

    /// An empty matrix [0, columns] with room for `capacity` rows, to be filled with [`Self::push_row`].
    pub fn with_capacity(capacity: usize, columns: usize) -> Self {
        let mut packed = Self::default();
        packed.reshape(capacity, columns);
        packed.depth = 0;
        packed
    }

    /// Appends one row. Panics when the capacity is used up.
    pub fn push_row(&mut self, row: &[f32]) {
        assert!(self.depth < self.capacity && row.len() == self.columns, "row does not fit");
        for (p, part) in row.chunks(LANES).enumerate() {
            self.panels[p * self.capacity + self.depth].0[..part.len()].copy_from_slice(part);
        }
        self.depth += 1;
    }

    /// Appends one column of the transposed cache: column j is lane j mod 16 of panel j / 16. Panics
    /// when there is no room.
    pub fn push_column(&mut self, column: &[f32]) {
        let (panel, lane) = (self.columns / LANES, self.columns % LANES);
        assert!(column.len() == self.depth, "column does not fit");
        let rows = &mut self.panels[panel * self.capacity..][..self.depth];
        for (to, x) in rows.iter_mut().zip(column) {
            to.0[lane] = *x;
        }
        self.columns += 1;
    }

    /// A matrix [depth, 0] with room for `capacity` columns, to be filled with [`Self::push_column`].
    pub fn with_column_capacity(depth: usize, capacity: usize) -> Self {
        let mut packed = Self::default();
        packed.reshape(depth, capacity);
        packed.columns = 0;
        packed
    }

    /// Rows of B.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Columns of B.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Forgets all rows but the first `depth`.
    pub fn truncate_rows(&mut self, depth: usize) {
        self.depth = self.depth.min(depth);
    }

    /// Forgets all columns but the first `columns`.
    pub fn truncate_columns(&mut self, columns: usize) {
        self.columns = self.columns.min(columns);
    }

    /// Memory it takes.
    pub fn bytes(&self) -> usize {
        self.panels.len() * size_of::<Lanes>()
    }

    /// The leading part [depth, columns].
    pub fn leading(&self, depth: usize, columns: usize) -> PackedView<'_> {
        assert!(depth <= self.depth && columns <= self.columns, "view larger than its matrix");
        PackedView { matrix: self, depth, columns }
    }

    fn reshape(&mut self, depth: usize, columns: usize) {
        self.depth = depth;
        self.columns = columns;
        self.capacity = depth;
        let lanes = columns.div_ceil(LANES) * depth;
        if !columns.is_multiple_of(LANES) || self.panels.len() > lanes {
            self.panels.clear();
        }
        self.panels.resize(lanes, Lanes([0.0; LANES]));
    }

    /// Row k of one panel.
    pub(super) fn panel_row(&self, panel: usize, k: usize) -> &[f32; LANES] {
        &self.panels[panel * self.capacity + k].0
    }

    pub(crate) fn panel(&self, panel: usize) -> *const f32 {
        self.panels[panel * self.capacity..].as_ptr().cast()
    }

    pub(crate) fn panel_stride(&self) -> usize {
        self.capacity * LANES
    }
}

/// The leading rows and columns of a packed matrix.
#[derive(Clone, Copy, Debug)]
pub struct PackedView<'a> {
    pub(super) matrix: &'a PackedMatrix,
    pub(super) depth: usize,
    pub(super) columns: usize,
}

impl<'a> From<&'a PackedMatrix> for PackedView<'a> {
    fn from(matrix: &'a PackedMatrix) -> Self {
        matrix.leading(matrix.depth, matrix.columns)
    }
}
