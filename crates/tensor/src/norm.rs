//! Root-mean-square normalisation.

use crate::math::rsqrt;
use crate::parallel::{Shared, for_rows};
use crate::reduce::dot_lanes;
use crate::simd::kernel;
use std::ops::Range;

/// yᵢ = xᵢ · r · wᵢ with r = 1/√(mean(x²) + eps), for every row.
///
/// Shapes: x, y `[rows, w.len()]`; `scales` `[rows]` receives r. Source: 1910.07467.
pub fn rms_norm(x: &[f32], w: &[f32], eps: f32, y: &mut [f32], scales: &mut [f32]) {
    let width = w.len();
    assert!(x.len() == y.len() && x.len() == scales.len() * width, "shapes of the norm differ");
    let (y, r) = (Shared::new(y), Shared::new(scales));
    for_rows(x.len() / width, 64, |rows| norm_rows(x, w, eps, &y, &r, rows));
}

kernel! {
    fn norm_rows<S>(x: &[f32], w: &[f32], eps: f32, y: &Shared<'_>, scales: &Shared<'_>, rows: Range<usize>) {
        let width = w.len();
        for i in rows {
            let x = &x[i * width..][..width];
            // SAFETY: every row belongs to one task.
            let (y, scale) = unsafe { (y.slice(i * width, width), scales.slice(i, 1)) };
            // SAFETY: inside a kernel.
            let squares = unsafe { dot_lanes::<S>(x, x) };
            let r = rsqrt(squares / width as f32 + eps);
            scale[0] = r;
            for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                *y = x * r * w;
            }
        }
    }
}

/// Gradient of [`rms_norm`], added to dx; the weight's is added to dw where it is wanted.
///
/// With g = w·dy: dx += r·g − x·r³·Σ(g·x)/n. Shapes: dy, x, dx `[rows, w.len()]`; scales `[rows]`.
pub fn rms_norm_backward(
    dy: &[f32],
    x: &[f32],
    w: &[f32],
    scales: &[f32],
    dx: &mut [f32],
    dw: Option<&mut [f32]>,
) {
    let width = w.len();
    let rows = scales.len();
    assert!([dy.len(), x.len(), dx.len()] == [rows * width; 3], "shapes of the norm differ");
    if let Some(dw) = dw {
        let dw = Shared::new(dw);
        for_rows(width, 64, |columns| weight_gradient(dy, x, scales, width, &dw, columns));
    }
    let dx = Shared::new(dx);
    for_rows(rows, 64, |rows| backward_rows(dy, x, w, scales, &dx, rows));
}

kernel! {
    fn backward_rows<S>(dy: &[f32], x: &[f32], w: &[f32], scales: &[f32], dx: &Shared<'_>, rows: Range<usize>) {
        let width = w.len();
        let mut g = vec![0.0f32; width];
        for i in rows {
            let (dy, x, r) = (&dy[i * width..][..width], &x[i * width..][..width], scales[i]);
            for ((g, dy), w) in g.iter_mut().zip(dy).zip(w) {
                *g = dy * w;
            }
            // SAFETY: inside a kernel.
            let projection = unsafe { dot_lanes::<S>(&g, x) };
            let back = -(projection / width as f32) * r * r * r;
            // SAFETY: every row belongs to one task.
            let dx = unsafe { dx.slice(i * width, width) };
            for ((dx, g), x) in dx.iter_mut().zip(&g).zip(x) {
                *dx = x.mul_add(back, g.mul_add(r, *dx));
            }
        }
    }
}

kernel! {
    /// Σ over rows, in order, of dy·x·r.
    fn weight_gradient<S>(dy: &[f32], x: &[f32], scales: &[f32], width: usize, dw: &Shared<'_>, columns: Range<usize>) {
        // SAFETY: every column belongs to one task.
        let dw = unsafe { dw.slice(columns.start, columns.len()) };
        for (i, r) in scales.iter().enumerate() {
            let at = i * width + columns.start;
            let (dy, x) = (&dy[at..][..columns.len()], &x[at..][..columns.len()]);
            for ((dw, dy), x) in dw.iter_mut().zip(dy).zip(x) {
                *dw = (x * r).mul_add(*dy, *dw);
            }
        }
    }
}
