//! Weights in eight bits.

use super::rows::group_range;
use super::{GROUP, Int8Rows, Job, Line, Path, QUAD, over_panels, portable};
use crate::Out;
use crate::ahead::{Ahead, bytes_of};
use crate::simd::LANES;
use std::ops::Range;

/// Added to a code so that a weight is unsigned, which is what the instruction takes on one side.
pub(super) const OFFSET: i32 = 128;
/// Largest magnitude of a code.
const CODE_MAX: f32 = 127.0;

/// Wᵀ [depth, columns] in eight bits, with a scale for each column and group of 256 inputs.
///
/// In panels of sixteen columns: panel p holds for each four steps of k a line of sixteen columns.
#[derive(Clone, Debug)]
pub struct Int8Matrix {
    depth: usize,
    columns: usize,
    lines: Vec<Line>,
    /// [panels][groups][lanes].
    scales: Vec<[f32; LANES]>,
}

impl Int8Matrix {
    /// Quantises W [columns, depth], as linear layers store it. Panics if W has another size or a value
    /// is not finite.
    pub fn quantise(w: &[f32], depth: usize, columns: usize) -> Self {
        assert!(w.len() == depth * columns && depth > 0, "shape of the weights");
        let (quads, groups, panels) =
            (depth.div_ceil(QUAD), depth.div_ceil(GROUP), columns.div_ceil(LANES));
        let mut lines = vec![Line([OFFSET as u8; LANES * QUAD]); panels * quads];
        let mut scales = vec![[0.0; LANES]; panels * groups];
        for (j, row) in w.chunks_exact(depth).enumerate() {
            let (panel, lane) = (j / LANES, j % LANES);
            for group in 0..groups {
                let range = group_range(depth, group);
                let largest = row[range.clone()].iter().fold(0.0f32, |a, b| a.max(b.abs()));
                assert!(largest.is_finite(), "a weight is not finite");
                let scale = largest / CODE_MAX;
                scales[panel * groups + group][lane] = scale;
                for k in range {
                    let code = if scale > 0.0 { (row[k] / scale).round_ties_even() } else { 0.0 };
                    let line = &mut lines[panel * quads + k / QUAD].0;
                    line[lane * QUAD + k % QUAD] = (code as i32 + OFFSET) as u8;
                }
            }
        }
        Self { depth, columns, lines, scales }
    }

    /// What the codes stand for: W [columns, depth].
    pub fn widen(&self) -> Vec<f32> {
        let value = |i: usize| {
            let (j, k) = (i / self.depth, i % self.depth);
            let (panel, lane) = (j / LANES, j % LANES);
            let line = &self.lines[panel * self.quads() + k / QUAD].0;
            let code = i32::from(line[lane * QUAD + k % QUAD]) - OFFSET;
            code as f32 * self.scales[panel * self.groups() + k / GROUP][lane]
        };
        (0..self.columns * self.depth).map(value).collect()
    }

    /// C [rows, columns] = rows · Wᵀ. While it runs, what is `ahead` is brought nearer.
    ///
    /// Panics if the depth differs or C is too short.
    pub fn multiply(&self, rows: &Int8Rows, out: Out<'_>, ahead: &Ahead<'_>) {
        assert!(rows.rows() == 0 || rows.depth() == self.depth, "depth of the product");
        let path = Path::current();
        over_panels(rows, self.columns, out, ahead, |job, panels, ahead| match path {
            // SAFETY: `current` looked for the instructions; tasks own disjoint columns of C, which
            // `over_panels` measured.
            #[cfg(target_arch = "x86_64")]
            Path::Vnni => unsafe { super::x86::int8_vnni(self, job, panels, ahead) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => unsafe { super::x86::int8_avx2(self, job, panels) },
            Path::Portable => self.multiply_portable(job, panels, ahead),
        });
    }

    fn multiply_portable(&self, job: Job<'_>, panels: Range<usize>, mut ahead: Ahead<'_>) {
        ahead.spread(panels.len());
        for panel in panels {
            ahead.advance();
            portable::panel(job, panel, GROUP, |group, code, sum| {
                let range = group_range(self.depth, group);
                let start = panel * self.quads() + range.start / QUAD;
                portable::dot(&self.lines[start..][..range.len().div_ceil(QUAD)], code, sum);
                (OFFSET, self.scales[panel * self.groups() + group])
            });
        }
    }

    /// Memory it takes.
    pub fn bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>() + self.scales.len() * size_of::<[f32; LANES]>()
    }

    pub(super) fn quads(&self) -> usize {
        self.depth.div_ceil(QUAD)
    }

    pub(super) fn groups(&self) -> usize {
        self.depth.div_ceil(GROUP)
    }

    /// The lines of some panels.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn panel_bytes(&self, panels: Range<usize>) -> &[u8] {
        bytes_of(&self.lines[panels.start * self.quads()..panels.end * self.quads()])
    }

    /// Start of a panel's lines and of its scales.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn panel(&self, panel: usize) -> (*const u8, *const f32) {
        let lines = &self.lines[panel * self.quads()..];
        let scales = &self.scales[panel * self.groups()..];
        (lines.as_ptr().cast(), scales.as_ptr().cast())
    }
}
