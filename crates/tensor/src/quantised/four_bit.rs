//! Weights in four bits, multiplied without widening them.

use super::{Int8Rows, Job, LANES, Path, QUAD, over_panels, portable};
use crate::ahead::{Ahead, Plain, bytes_of};
use crate::four_bit::widen;
use crate::{FOUR_BIT_GROUP, FourBitMatrix, Out};
use std::ops::Range;

/// Added to a code, as [`FourBitMatrix`] stores it.
pub(super) const OFFSET: i32 = 8;
/// Lines of one group, two codes a byte: line i holds quad i in its low halves and quad i + 4 in its high ones.
const LINES: usize = FOUR_BIT_GROUP / QUAD / 2;

/// The weights of a [`FourBitMatrix`] W [columns, depth] in panels of sixteen columns.
#[derive(Clone, Debug)]
pub struct FourBitPanels {
    depth: usize,
    columns: usize,
    /// [panels][groups].
    groups: Vec<Group>,
}

/// Sixteen columns of 32 steps of k.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Group {
    codes: [[u8; LANES * QUAD]; LINES],
    /// bf16; padded to a cache line so that codes stay aligned.
    scales: [u16; 2 * LANES],
}

// SAFETY: 256 bytes of codes and 64 of scales.
unsafe impl Plain for Group {}

/// Bytes from one group to the next.
pub(super) const GROUP_BYTES: usize = size_of::<Group>();

impl From<&FourBitMatrix> for FourBitPanels {
    fn from(matrix: &FourBitMatrix) -> Self {
        let (depth, columns) = (matrix.columns(), matrix.rows());
        let groups = depth.div_ceil(FOUR_BIT_GROUP);
        // Both halves of a byte hold the code of zero.
        let zero = Group { codes: [[0x88; LANES * QUAD]; LINES], scales: [0; 2 * LANES] };
        let mut all = vec![zero; columns.div_ceil(LANES) * groups];
        for j in 0..columns {
            let (panel, lane) = (j / LANES, j % LANES);
            for group in 0..groups {
                let (codes, scale) = matrix.group(j, group);
                let to = &mut all[panel * groups + group];
                to.scales[lane] = scale;
                for k in 0..FOUR_BIT_GROUP {
                    let code = codes[k / 2] >> (4 * (k % 2)) & 15;
                    let (quad, step) = (k / QUAD, k % QUAD);
                    let byte = &mut to.codes[quad % LINES][lane * QUAD + step];
                    let shift = 4 * (quad / LINES);
                    *byte = *byte & !(15 << shift) | code << shift;
                }
            }
        }
        Self { depth, columns, groups: all }
    }
}

impl FourBitPanels {
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
            Path::Vnni => unsafe { super::x86::four_bit_vnni(self, job, panels, ahead) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => unsafe { super::x86::four_bit_avx2(self, job, panels) },
            Path::Portable => self.multiply_portable(job, panels, ahead),
        });
    }

    fn multiply_portable(&self, job: Job<'_>, panels: Range<usize>, mut ahead: Ahead<'_>) {
        ahead.spread(panels.len());
        for panel in panels {
            ahead.advance();
            portable::panel(job, panel, FOUR_BIT_GROUP, |group, codes, sums| {
                let group = &self.groups[panel * self.groups_of_panel() + group];
                for (half, codes) in codes.chunks(LINES * QUAD).enumerate() {
                    let lines =
                        group.codes.map(|line| super::Line(line.map(|b| b >> (4 * half) & 15)));
                    portable::dot(&lines, codes, sums);
                }
                (OFFSET, std::array::from_fn(|lane| widen(group.scales[lane])))
            });
        }
    }

    /// Memory it takes.
    pub fn bytes(&self) -> usize {
        self.groups.len() * GROUP_BYTES
    }

    pub(super) fn groups_of_panel(&self) -> usize {
        self.depth.div_ceil(FOUR_BIT_GROUP)
    }

    /// The groups of some panels.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn panel_bytes(&self, panels: Range<usize>) -> &[u8] {
        let groups = self.groups_of_panel();
        bytes_of(&self.groups[panels.start * groups..panels.end * groups])
    }

    /// Start of a panel's groups.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn panel(&self, panel: usize) -> *const u8 {
        self.groups[panel * self.groups_of_panel()..].as_ptr().cast()
    }
}
