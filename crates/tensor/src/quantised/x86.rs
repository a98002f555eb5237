//! The quantised products in AVX-512 VNNI and in AVX2.
//!
//! A tile takes up to twelve rows and two panels (more panels for fewer rows, so that enough sums are under way to
//! hide their latency). Weights are unsigned with an offset, inputs signed; the offset's part is subtracted
//! as the sums begin. AVX2 multiplies magnitudes of inputs by weights of their sign instead: pairs of products
//! of 127 · 127 fit sixteen bits, so nothing saturates.
//!
//! Each panel is read from memory once and then multiplied with all rows out of the inner cache. Left to itself
//! the memory would rest in that time, so tiles ask for the panels that come next.

use super::four_bit::{self, FourBitPanels, GROUP_BYTES};
use super::int8::{self, Int8Matrix};
use super::{GROUP, Job, LANES, QUAD};
use crate::FOUR_BIT_GROUP;
use crate::ahead::{Ahead, Walk};
use std::arch::x86_64::*;
use std::ops::Range;

/// Bytes of a line: sixteen columns of four steps of k.
const LINE: usize = LANES * QUAD;
/// Rows of the largest tile, in eight and in four bits.
const ROWS: usize = 12;
const FOUR_BIT_ROWS: usize = 6;

/// Where a tile reads and writes.
struct Tile<'a> {
    job: Job<'a>,
    row: usize,
    panel: usize,
}

impl Tile<'_> {
    /// Codes of the tile's first row, and the distance to the next.
    fn codes(&self) -> (*const i8, usize) {
        (self.job.rows.codes(self.row).as_ptr(), self.job.rows.stride())
    }

    /// Row i of C at panel p of the tile, and how many of its columns exist.
    ///
    /// # Safety
    /// The row and the panel exist, and the columns are the task's own.
    unsafe fn c(&self, i: usize, p: usize) -> (*mut f32, usize) {
        let column = (self.panel + p) * LANES;
        let at = (self.row + i) * self.job.c_stride + column;
        // SAFETY: inside C by the caller's promise.
        (unsafe { self.job.c.pointer(at) }, (self.job.columns - column).min(LANES))
    }
}

/// Walks the tiles of some panels: `run(tile, rows, panels, own)`, where `own` is a part of the panels that come
/// next, of which `soon` gives the bytes.
fn walk<'a>(
    job: Job<'a>,
    panels: Range<usize>,
    rows_max: usize,
    wide: impl Fn(usize) -> usize,
    soon: impl Fn(Range<usize>) -> &'a [u8],
    mut run: impl FnMut(&Tile<'a>, usize, usize, &mut Ahead<'_>),
) {
    let rows = job.rows.rows();
    // Equal heights: eleven and eleven rather than twelve and ten.
    let height = rows.div_ceil(rows.div_ceil(rows_max));
    let widest = wide(height);
    let mut panel = panels.start;
    while panel < panels.end {
        let mut count = widest;
        while count > panels.end - panel {
            count /= 2;
        }
        // Tiles of few rows wait for memory anyway, and the processor sees what they will read.
        let ahead = if widest > 2 { 0 } else { count };
        let next = [soon(panel + count..panels.end.min(panel + count + ahead))];
        let mut own = Ahead::new(&next);
        own.spread(rows.div_ceil(height));
        for row in (0..rows).step_by(height) {
            run(&Tile { job, row, panel }, height.min(rows - row), count, &mut own);
        }
        panel += count;
    }
}

/// How many tiles [`walk`] makes, about.
fn tiles(job: &Job<'_>, panels: &Range<usize>, rows_max: usize, wide: usize) -> usize {
    job.rows.rows().div_ceil(rows_max) * panels.len().div_ceil(wide)
}

fn wide(rows: usize) -> usize {
    match rows {
        0..=2 => 8,
        3..=5 => 4,
        _ => 2,
    }
}

macro_rules! shapes {
    ($run:ident, $rows:expr, $panels:expr, $arguments:tt; $($r:literal x $p:literal)*) => {
        match ($rows, $panels) {
            // SAFETY: the caller's promise.
            $(($r, $p) => unsafe { $run::<$r, $p> $arguments },)*
            _ => unreachable!("tile {} x {}", $rows, $panels),
        }
    };
}

/// # Safety
/// The processor has AVX-512F, BW and VNNI; the panels' columns of C exist and are the caller's alone.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
pub(super) unsafe fn int8_vnni(
    b: &Int8Matrix,
    job: Job<'_>,
    panels: Range<usize>,
    mut ahead: Ahead<'_>,
) {
    let rows = job.rows.rows();
    let tiles = tiles(&job, &panels, ROWS, wide(rows.div_ceil(rows.div_ceil(ROWS))));
    ahead.spread(tiles);
    let soon = |panels| b.panel_bytes(panels);
    walk(job, panels, ROWS, wide, soon, |tile, rows, count, own| {
        shapes!(int8_vnni_tile, rows, count, (b, tile, own, &mut ahead);
            1 x 1 1 x 2 1 x 4 1 x 8 2 x 1 2 x 2 2 x 4 2 x 8 3 x 1 3 x 2 3 x 4 4 x 1 4 x 2 4 x 4
            5 x 1 5 x 2 5 x 4 6 x 1 6 x 2 7 x 1 7 x 2 8 x 1 8 x 2 9 x 1 9 x 2 10 x 1 10 x 2
            11 x 1 11 x 2 12 x 1 12 x 2);
    });
}

/// # Safety
/// As for [`int8_vnni`]; the tile has R rows and P panels.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
unsafe fn int8_vnni_tile<const R: usize, const P: usize>(
    b: &Int8Matrix,
    t: &Tile<'_>,
    own: &mut Ahead<'_>,
    ahead: &mut Ahead<'_>,
) {
    let (quads, groups) = (b.quads(), b.groups());
    let (lines, scales) = b.panel(t.panel);
    let (codes, stride) = t.codes();
    let mut soon = [own.walk(quads), ahead.walk(quads)];
    for group in 0..groups {
        let range = group * (GROUP / QUAD)..quads.min((group + 1) * (GROUP / QUAD));
        // SAFETY: panels of `quads` lines and `groups` scales; rows of codes padded beyond the last quad.
        unsafe {
            let mut acc = [[_mm512_setzero_si512(); P]; R];
            for (i, acc) in acc.iter_mut().enumerate() {
                let sum = t.job.rows.sum(t.row + i, group);
                *acc = [_mm512_set1_epi32(-int8::OFFSET * sum); P];
            }
            let mut x = codes.add(range.start * QUAD);
            let mut line = lines.add(range.start * LINE);
            for _ in range {
                let mut w = [_mm512_setzero_si512(); P];
                for (p, w) in w.iter_mut().enumerate() {
                    *w = _mm512_load_si512(line.wrapping_add(p * quads * LINE).cast());
                }
                for (i, acc) in acc.iter_mut().enumerate() {
                    let at = x.wrapping_add(i.wrapping_mul(stride)).cast::<i32>();
                    let x = _mm512_set1_epi32(at.read_unaligned());
                    for (acc, w) in acc.iter_mut().zip(w) {
                        *acc = _mm512_dpbusd_epi32(*acc, w, x);
                    }
                }
                x = x.wrapping_add(QUAD);
                line = line.wrapping_add(LINE);
                soon.iter_mut().for_each(Walk::advance);
            }
            for (i, acc) in acc.iter().enumerate() {
                let scale = _mm512_set1_ps(t.job.rows.scale(t.row + i, group));
                for (p, acc) in acc.iter().enumerate() {
                    let weight_scale = _mm512_loadu_ps(scales.add((p * groups + group) * LANES));
                    let product = _mm512_mul_ps(_mm512_cvtepi32_ps(*acc), weight_scale);
                    let (c, columns) = t.c(i, p);
                    let mask = ((1u32 << columns) - 1) as u16;
                    let before = if group == 0 {
                        _mm512_setzero_ps()
                    } else {
                        _mm512_maskz_loadu_ps(mask, c)
                    };
                    _mm512_mask_storeu_ps(c, mask, _mm512_fmadd_ps(product, scale, before));
                }
            }
        }
    }
    own.finish(soon[0]);
    ahead.finish(soon[1]);
}

/// # Safety
/// As for [`int8_vnni`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
pub(super) unsafe fn four_bit_vnni(
    b: &FourBitPanels,
    job: Job<'_>,
    panels: Range<usize>,
    mut ahead: Ahead<'_>,
) {
    let wide = |rows: usize| if rows <= 2 { 4 } else { 2 };
    let rows = job.rows.rows();
    let height = rows.div_ceil(rows.div_ceil(FOUR_BIT_ROWS));
    ahead.spread(tiles(&job, &panels, FOUR_BIT_ROWS, wide(height)));
    let soon = |panels| b.panel_bytes(panels);
    walk(job, panels, FOUR_BIT_ROWS, wide, soon, |tile, rows, count, own| {
        shapes!(four_bit_vnni_tile, rows, count, (b, tile, own, &mut ahead);
            1 x 1 1 x 2 1 x 4 2 x 1 2 x 2 2 x 4 3 x 1 3 x 2 4 x 1 4 x 2 5 x 1 5 x 2 6 x 1 6 x 2);
    });
}

/// # Safety
/// As for [`int8_vnni`]; the tile has R rows and P panels.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
unsafe fn four_bit_vnni_tile<const R: usize, const P: usize>(
    b: &FourBitPanels,
    t: &Tile<'_>,
    own: &mut Ahead<'_>,
    ahead: &mut Ahead<'_>,
) {
    const LINES: usize = FOUR_BIT_GROUP / QUAD / 2;
    let groups = b.groups_of_panel();
    let panels = b.panel(t.panel);
    let (codes, stride) = t.codes();
    let mut soon = [own.walk(groups * LINES), ahead.walk(groups * LINES)];
    // SAFETY: panels of `groups` groups; rows of codes are padded to whole groups.
    unsafe {
        let low = _mm512_set1_epi8(15);
        let mut c = [[_mm512_setzero_ps(); P]; R];
        for group in 0..groups {
            let mut acc = [[_mm512_setzero_si512(); P]; R];
            for (i, acc) in acc.iter_mut().enumerate() {
                let sum = t.job.rows.sum_of_32(t.row + i, group);
                *acc = [_mm512_set1_epi32(-four_bit::OFFSET * sum); P];
            }
            let from = panels.add(group * GROUP_BYTES);
            let x = codes.add(group * FOUR_BIT_GROUP);
            for line in 0..LINES {
                soon.iter_mut().for_each(Walk::advance);
                let mut w = [[_mm512_setzero_si512(); 2]; P];
                for (p, w) in w.iter_mut().enumerate() {
                    let at = from.wrapping_add(p * groups * GROUP_BYTES + line * LINE);
                    let both = _mm512_load_si512(at.cast());
                    let high = _mm512_srli_epi16::<4>(both);
                    *w = [_mm512_and_si512(both, low), _mm512_and_si512(high, low)];
                }
                for (i, acc) in acc.iter_mut().enumerate() {
                    let at = x.wrapping_add(i.wrapping_mul(stride) + line * QUAD);
                    let first = _mm512_set1_epi32(at.cast::<i32>().read_unaligned());
                    let at = at.wrapping_add(LINES * QUAD);
                    let second = _mm512_set1_epi32(at.cast::<i32>().read_unaligned());
                    for (acc, w) in acc.iter_mut().zip(w) {
                        *acc = _mm512_dpbusd_epi32(*acc, w[0], first);
                        *acc = _mm512_dpbusd_epi32(*acc, w[1], second);
                    }
                }
            }
            for p in 0..P {
                let at = from.wrapping_add(p * groups * GROUP_BYTES + LINES * LINE);
                let narrow = _mm512_cvtepu16_epi32(_mm256_load_si256(at.cast()));
                let weight_scale = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(narrow));
                for i in 0..R {
                    let scale = t.job.rows.scale(t.row + i, group * FOUR_BIT_GROUP / GROUP);
                    let product = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[i][p]), weight_scale);
                    c[i][p] = _mm512_fmadd_ps(product, _mm512_set1_ps(scale), c[i][p]);
                }
            }
        }
        for (i, row) in c.iter().enumerate() {
            for (p, v) in row.iter().enumerate() {
                let (c, columns) = t.c(i, p);
                _mm512_mask_storeu_ps(c, ((1u32 << columns) - 1) as u16, *v);
            }
        }
    }
    own.finish(soon[0]);
    ahead.finish(soon[1]);
}

/// Adds to eight sums the products of eight columns' signed weights with four codes of a row.
#[inline(always)]
unsafe fn dot_avx2(sum: __m256i, weights: __m256i, codes: __m256i) -> __m256i {
    // SAFETY: arithmetic only, inside functions with AVX2.
    unsafe {
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(weights, codes));
        _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }
}

/// One row and one panel of C continued with integer sums times both scales.
#[inline(always)]
unsafe fn finish_avx2(
    c: &mut [f32; LANES],
    sums: [__m256i; 2],
    weight_scales: *const f32,
    scale: f32,
) {
    // SAFETY: sixteen scales are readable; inside functions with AVX2 and FMA.
    unsafe {
        for (half, sum) in sums.into_iter().enumerate() {
            let weight_scale = _mm256_loadu_ps(weight_scales.add(8 * half));
            let product = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), weight_scale);
            let c = c.as_mut_ptr().add(8 * half);
            let sum = _mm256_fmadd_ps(product, _mm256_set1_ps(scale), _mm256_loadu_ps(c));
            _mm256_storeu_ps(c, sum);
        }
    }
}

/// # Safety
/// The processor has AVX2 and FMA; the panels' columns of C exist and are the caller's alone.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn int8_avx2(b: &Int8Matrix, job: Job<'_>, panels: Range<usize>) {
    walk(
        job,
        panels,
        2,
        |_| 1,
        |_| &[],
        |tile, rows, count, _| {
            shapes!(int8_avx2_tile, rows, count, (b, tile); 1 x 1 2 x 1);
        },
    );
}

/// # Safety
/// As for [`int8_avx2`]; the tile has R rows and one panel.
#[target_feature(enable = "avx2,fma")]
unsafe fn int8_avx2_tile<const R: usize, const P: usize>(b: &Int8Matrix, t: &Tile<'_>) {
    let (lines, scales) = b.panel(t.panel);
    let (codes, stride) = t.codes();
    let mut c = [[0.0; LANES]; R];
    for group in 0..b.groups() {
        let range = group * (GROUP / QUAD)..b.quads().min((group + 1) * (GROUP / QUAD));
        // SAFETY: a panel of `quads` lines and `groups` scales; rows of codes are padded.
        unsafe {
            let offset = _mm256_set1_epi8(int8::OFFSET as u8 as i8);
            let mut acc = [[_mm256_setzero_si256(); 2]; R];
            for quad in range {
                let line = lines.add(quad * LINE).cast::<__m256i>();
                let w = [0, 1].map(|h| _mm256_xor_si256(_mm256_load_si256(line.add(h)), offset));
                for (i, acc) in acc.iter_mut().enumerate() {
                    let at = codes.add(i * stride + quad * QUAD).cast::<i32>();
                    let x = _mm256_set1_epi32(at.read_unaligned());
                    for (acc, w) in acc.iter_mut().zip(w) {
                        *acc = dot_avx2(*acc, w, x);
                    }
                }
            }
            for (i, (c, acc)) in c.iter_mut().zip(acc).enumerate() {
                let scale = t.job.rows.scale(t.row + i, group);
                finish_avx2(c, acc, scales.add(group * LANES), scale);
            }
        }
    }
    // SAFETY: the task's own columns.
    unsafe { store(t, &c) };
}

/// # Safety
/// As for [`int8_avx2`].
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn four_bit_avx2(b: &FourBitPanels, job: Job<'_>, panels: Range<usize>) {
    walk(
        job,
        panels,
        2,
        |_| 1,
        |_| &[],
        |tile, rows, count, _| {
            shapes!(four_bit_avx2_tile, rows, count, (b, tile); 1 x 1 2 x 1);
        },
    );
}

/// # Safety
/// As for [`int8_avx2`]; the tile has R rows and one panel.
#[target_feature(enable = "avx2,fma")]
unsafe fn four_bit_avx2_tile<const R: usize, const P: usize>(b: &FourBitPanels, t: &Tile<'_>) {
    const LINES: usize = FOUR_BIT_GROUP / QUAD / 2;
    let panel = b.panel(t.panel);
    let (codes, stride) = t.codes();
    let mut c = [[0.0; LANES]; R];
    for group in 0..b.groups_of_panel() {
        // SAFETY: a panel of so many groups; rows of codes are padded to whole groups.
        unsafe {
            let from = panel.add(group * GROUP_BYTES);
            let (low, offset) = (_mm256_set1_epi8(15), _mm256_set1_epi8(four_bit::OFFSET as i8));
            let mut acc = [[_mm256_setzero_si256(); 2]; R];
            for line in 0..LINES {
                for half in 0..2 {
                    let both = _mm256_load_si256(from.add(line * LINE + 32 * half).cast());
                    let high = _mm256_srli_epi16::<4>(both);
                    for (quad, w) in [(line, both), (line + LINES, high)] {
                        let w = _mm256_sub_epi8(_mm256_and_si256(w, low), offset);
                        let step = group * FOUR_BIT_GROUP + quad * QUAD;
                        for (i, acc) in acc.iter_mut().enumerate() {
                            let at = codes.add(i * stride + step).cast::<i32>();
                            let x = _mm256_set1_epi32(at.read_unaligned());
                            acc[half] = dot_avx2(acc[half], w, x);
                        }
                    }
                }
            }
            let narrow = from.add(LINES * LINE).cast::<[u16; LANES]>().read();
            let weight_scales = narrow.map(crate::four_bit::widen);
            for (i, (c, acc)) in c.iter_mut().zip(acc).enumerate() {
                let scale = t.job.rows.scale(t.row + i, group * FOUR_BIT_GROUP / GROUP);
                finish_avx2(c, acc, weight_scales.as_ptr(), scale);
            }
        }
    }
    // SAFETY: the task's own columns.
    unsafe { store(t, &c) };
}

/// # Safety
/// The tile has so many rows, and its columns of C are the task's own.
unsafe fn store(t: &Tile<'_>, c: &[[f32; LANES]]) {
    for (i, row) in c.iter().enumerate() {
        // SAFETY: `columns` elements exist there.
        unsafe {
            let (to, columns) = t.c(i, 0);
            std::ptr::copy_nonoverlapping(row.as_ptr(), to, columns);
        }
    }
}
