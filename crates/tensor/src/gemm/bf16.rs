//! Products in bf16 with sums in f32, for work whose owner gives up fixed bits for speed.
//!
//! AVX512-BF16 only: two neighbouring steps of k are multiplied and added at once, in an order that the
//! processor chooses and with subnormal numbers taken as zero. Where the processor lacks it there is no
//! such matrix, and callers keep to the exact product.
//!
//! **Invariant:** nothing that decides money is computed here.

use super::{Lhs, Out, PackedMatrix, Start, gemm};
#[cfg(target_arch = "x86_64")]
use crate::level::SimdLevel;
use crate::parallel::{self, Shared};
use crate::simd::LANES;
use std::ops::Range;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// B [depth, columns] in bf16 and panels of sixteen columns: panel p holds, for each pair of k, the
/// two values of B[k, 16p + j] and B[k + 1, 16p + j] side by side for j = 0..16.
#[derive(Clone, Debug)]
pub struct Bf16Matrix {
    depth: usize,
    columns: usize,
    /// [panels][pairs of k][lanes]; the first of a pair in the low half.
    panels: Vec<Pairs>,
}

/// Sixteen pairs, aligned to a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Pairs([u32; LANES]);

/// Rows of a tile.
const ROWS: usize = 12;
/// Rows of A that are converted at once: at a depth of 704 a third of a MiB of L2.
const BLOCK_ROWS: usize = 240;
/// Below this many multiply-adds a product runs on the calling thread.
const PARALLEL_MIN: usize = 1 << 21;

impl Bf16Matrix {
    /// Whether this machine has the instructions, and vector paths are not forced to lesser ones.
    pub fn available() -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            SimdLevel::current() == SimdLevel::Avx512
                && is_x86_feature_detected!("avx512bf16")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
        }
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// Whether a product in bf16 is faster here than the exact one; tried once, in about a millisecond.
    /// Some processors have the instruction at half the rate of a fused multiply-add, and then lose.
    pub fn pays() -> bool {
        static PAYS: OnceLock<bool> = OnceLock::new();
        *PAYS.get_or_init(|| {
            // Small enough for one thread and the inner caches.
            const M: usize = ROWS;
            const N: usize = 256;
            let (a, mut c) = (vec![0.5; M * N], vec![0.0; M * N]);
            let packed = PackedMatrix::from_rows(&vec![0.5; N * N], N, N, N);
            let Some(fast) = Self::from_packed(&packed) else { return false };
            let (mut exact_best, mut fast_best) = (Duration::MAX, Duration::MAX);
            // The best of many: an interruption never makes a product faster.
            for _ in 0..32 {
                let start = Instant::now();
                let lhs = Lhs::Rows { data: &a, stride: N };
                gemm(M, lhs, &packed, Out { data: &mut c, stride: N }, Start::Zero);
                let between = Instant::now();
                fast.multiply(M, &a, N, Out { data: &mut c, stride: N });
                exact_best = exact_best.min(between - start);
                fast_best = fast_best.min(between.elapsed());
            }
            fast_best < exact_best
        })
    }

    /// The same matrix rounded to bf16; `None` where this machine cannot multiply with it.
    pub fn from_packed(packed: &PackedMatrix) -> Option<Self> {
        if !Self::available() {
            return None;
        }
        let (depth, columns) = (packed.depth(), packed.columns());
        let pairs = depth.div_ceil(2);
        let mut panels = vec![Pairs([0; LANES]); columns.div_ceil(LANES) * pairs];
        for (p, to) in panels.chunks_exact_mut(pairs.max(1)).enumerate() {
            for (k, to) in to.iter_mut().enumerate() {
                let low = packed.panel_row(p, 2 * k);
                let zero = [0.0; LANES];
                let high = if 2 * k + 1 < depth { packed.panel_row(p, 2 * k + 1) } else { &zero };
                for ((to, low), high) in to.0.iter_mut().zip(low).zip(high) {
                    *to = u32::from(round(*low)) | u32::from(round(*high)) << 16;
                }
            }
        }
        Some(Self { depth, columns, panels })
    }

    /// Memory it takes.
    pub fn bytes(&self) -> usize {
        self.panels.len() * size_of::<Pairs>()
    }

    /// C [m, columns] = A [m, depth] · B, rows of A `stride` apart. Panics if an operand is too short.
    pub fn multiply(&self, m: usize, a: &[f32], stride: usize, c: Out<'_>) {
        let (k, n) = (self.depth, self.columns);
        if m == 0 || n == 0 {
            return;
        }
        assert!(k > 0 && stride >= k && a.len() >= (m - 1) * stride + k, "A is too short");
        assert!(c.stride >= n && c.data.len() >= (m - 1) * c.stride + n, "C is too short");
        let (c_stride, shared) = (c.stride, Shared::new(c.data));
        let threads = if m * n * k < PARALLEL_MIN { 1 } else { parallel::threads() };
        let part = m.div_ceil(threads * m.div_ceil(threads * BLOCK_ROWS)).next_multiple_of(ROWS);
        parallel::for_each(m.div_ceil(part), |i| {
            let rows = i * part..(i * part + part).min(m);
            // SAFETY: a matrix exists only where the instructions do; tasks own disjoint rows of C, and
            // both operands were checked above.
            unsafe { block(self, a, stride, &shared, c_stride, rows) };
        });
    }
}

/// f32 to bf16, nearest, ties to even. Weights are finite.
fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

#[cfg(target_arch = "x86_64")]
use x86::block;

/// Where no matrix can be made there is nothing to multiply with.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn block(_: &Bf16Matrix, _: &[f32], _: usize, _: &Shared<'_>, _: usize, rows: Range<usize>) {
    unreachable!("no matrix was made for rows {rows:?}");
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    use std::arch::x86_64::*;
    use std::cell::Cell;

    /// Panels of a tile: with [`ROWS`] 24 sums, which leaves registers for B and one broadcast.
    const PANELS: usize = 2;

    thread_local! {
        /// A block of A in bf16.
        static CONVERTED: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    }

    /// Some rows of a product.
    ///
    /// # Safety
    /// The processor has AVX-512 with BF16, BW and VL; A and C are long enough; the rows of C are the
    /// caller's alone.
    #[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl,avx2,fma")]
    pub(super) unsafe fn block(
        b: &Bf16Matrix,
        a: &[f32],
        stride: usize,
        c: &Shared<'_>,
        c_stride: usize,
        rows: Range<usize>,
    ) {
        let (k, pairs) = (b.depth, b.depth.div_ceil(2));
        let panels = b.columns.div_ceil(LANES);
        let mut converted = CONVERTED.take();
        converted.resize(rows.len() * pairs, 0);
        for (to, i) in converted.chunks_exact_mut(pairs).zip(rows.clone()) {
            convert(&a[i * stride..][..k], to);
        }
        let mut panel = 0;
        while panel < panels {
            let count = if panels - panel >= PANELS { PANELS } else { 1 };
            let columns = (b.columns - panel * LANES).min(count * LANES);
            let from = b.panels[panel * pairs..].as_ptr();
            for (t, a) in converted.chunks(ROWS * pairs).enumerate() {
                let row = rows.start + t * ROWS;
                // SAFETY: `count` panels and the rows of `a` exist; the caller's promise for C.
                unsafe {
                    let c = c.pointer(row * c_stride + panel * LANES);
                    tile(a.len() / pairs, count, a, pairs, from.cast(), c, c_stride, columns);
                }
            }
            panel += count;
        }
        CONVERTED.set(converted);
    }

    #[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
    fn convert(row: &[f32], to: &mut [u32]) {
        let whole = row.len() / LANES;
        for (row, to) in row.chunks_exact(LANES).zip(to.chunks_exact_mut(LANES / 2)) {
            // SAFETY: sixteen values are read and eight pairs written, as long as the chunks are.
            unsafe {
                let rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(row.as_ptr()));
                let bits: __m256i = std::mem::transmute(rounded);
                _mm256_storeu_si256(to.as_mut_ptr().cast(), bits);
            }
        }
        let rest = row[whole * LANES..].chunks(2);
        for (pair, to) in rest.zip(&mut to[whole * LANES / 2..]) {
            let high = pair.get(1).copied().unwrap_or(0.0);
            *to = u32::from(round(pair[0])) | u32::from(round(high)) << 16;
        }
    }

    /// # Safety
    /// As for [`run`], with `rows` ≤ [`ROWS`] and `count` ≤ [`PANELS`].
    #[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
    #[allow(clippy::too_many_arguments)]
    unsafe fn tile(
        rows: usize,
        count: usize,
        a: &[u32],
        pairs: usize,
        b: *const u32,
        c: *mut f32,
        c_stride: usize,
        columns: usize,
    ) {
        macro_rules! shapes {
            ($($r:literal)*) => {
                match (rows, count) {
                    // SAFETY: the caller's promise.
                    $(($r, 2) => unsafe { run::<$r, 2>(a, pairs, b, c, c_stride, columns) },
                    ($r, 1) => unsafe { run::<$r, 1>(a, pairs, b, c, c_stride, columns) },)*
                    _ => unreachable!("tile {rows} x {count}"),
                }
            };
        }
        shapes!(1 2 3 4 5 6 7 8 9 10 11 12);
    }

    /// # Safety
    /// `a` holds R rows of `pairs`, `b` points at P panels of `pairs` vectors, `c` at R rows of `columns`
    /// that are the caller's alone, (P − 1) · 16 < columns ≤ P · 16.
    #[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512vl")]
    unsafe fn run<const R: usize, const P: usize>(
        a: &[u32],
        pairs: usize,
        b: *const u32,
        c: *mut f32,
        c_stride: usize,
        columns: usize,
    ) {
        // SAFETY: by the caller's promise.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); P]; R];
            let a = a.as_ptr();
            for k in 0..pairs {
                let mut panels = [_mm512_setzero_si512(); P];
                for (p, v) in panels.iter_mut().enumerate() {
                    *v = _mm512_load_si512(b.add((p * pairs + k) * LANES).cast());
                }
                for (i, row) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_epi32(*a.add(i * pairs + k) as i32);
                    for (sum, b) in row.iter_mut().zip(panels) {
                        let (x, b) = (
                            std::mem::transmute::<__m512i, __m512bh>(x),
                            std::mem::transmute::<__m512i, __m512bh>(b),
                        );
                        *sum = _mm512_dpbf16_ps(*sum, x, b);
                    }
                }
            }
            for (i, row) in sums.iter().enumerate() {
                for (p, v) in row.iter().enumerate() {
                    let left = columns - p * LANES;
                    let mask = if left >= LANES { !0 } else { (1u16 << left) - 1 };
                    _mm512_mask_storeu_ps(c.add(i * c_stride + p * LANES), mask, *v);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    #[test]
    fn a_product_differs_from_the_exact_one_by_the_rounding_of_its_operands() {
        let mut random = Random::new(8, 8);
        for (m, k, n) in [(1, 1, 1), (5, 7, 3), (13, 64, 33), (250, 33, 50), (30, 300, 17)] {
            let mut values = |n: usize| -> Vec<f32> { (0..n).map(|_| random.normal()).collect() };
            let (a, b) = (values(m * k), values(k * n));
            let packed = PackedMatrix::from_rows(&b, k, n, n);
            let Some(fast) = Bf16Matrix::from_packed(&packed) else {
                return eprintln!("no AVX512-BF16 here");
            };
            let mut c = vec![f32::NAN; m * (n + 2)];
            fast.multiply(m, &a, k, Out { data: &mut c, stride: n + 2 });
            for i in 0..m {
                for j in 0..n {
                    let terms =
                        (0..k).map(|kk| f64::from(a[i * k + kk]) * f64::from(b[kk * n + j]));
                    let (sum, size) =
                        terms.fold((0.0, 0.0), |(sum, size), t| (sum + t, size + t.abs()));
                    let error = (f64::from(c[i * (n + 2) + j]) - sum).abs();
                    // Each operand is off by 2⁻⁹ at most.
                    assert!(error <= size / 200.0 + 1e-6, "{m} {k} {n}: {error} of {size}");
                }
                // The columns after the last are not touched.
                assert!(c[i * (n + 2) + n].is_nan());
            }
        }
    }
}
