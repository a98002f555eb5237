//! The definition of the quantised products, which the vector paths must meet to the bit.

use super::{GROUP, Job, LANES, Line, QUAD};

/// Adds to sixteen sums the products of some lines of weights with codes of one row.
pub(super) fn dot(lines: &[Line], codes: &[i8], sums: &mut [i32; LANES]) {
    for (line, quad) in lines.iter().zip(codes.chunks_exact(QUAD)) {
        for (sum, weights) in sums.iter_mut().zip(line.0.as_chunks::<QUAD>().0) {
            for (weight, code) in weights.iter().zip(quad) {
                *sum += i32::from(*weight) * i32::from(*code);
            }
        }
    }
}

/// One panel of a product. `group` gets the number of a group of `step` inputs and the codes of a row in it,
/// adds their products with the unsigned weights to the sums, and returns the offset of the weights and their
/// scales.
pub(super) fn panel(
    job: Job<'_>,
    panel: usize,
    step: usize,
    group: impl Fn(usize, &[i8], &mut [i32; LANES]) -> (i32, [f32; LANES]),
) {
    let columns = (job.columns - panel * LANES).min(LANES);
    for row in 0..job.rows.rows() {
        let mut c = [0.0f32; LANES];
        let depth = job.rows.depth().next_multiple_of(QUAD);
        for (g, codes) in job.rows.codes(row)[..depth].chunks(step).enumerate() {
            let mut sums = [0; LANES];
            let (offset, scales) = group(g, codes, &mut sums);
            let total: i32 = codes.iter().map(|c| i32::from(*c)).sum();
            let scale = job.rows.scale(row, g * step / GROUP);
            for ((c, sum), weight_scale) in c.iter_mut().zip(sums).zip(scales) {
                let product = (sum - offset * total) as f32 * weight_scale;
                *c = product.mul_add(scale, *c);
            }
        }
        let at = row * job.c_stride + panel * LANES;
        // SAFETY: the task owns these columns of C.
        unsafe { job.c.slice(at, columns) }.copy_from_slice(&c[..columns]);
    }
}
