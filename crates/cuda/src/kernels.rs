//! The kernels as functions: each looks at the sizes of its buffers, lays out the argument and starts the grid.
//!
//! **Invariant:** nothing else launches, so a kernel reads and writes inside buffers whose size was checked here.
//! What an index names (a page, a token, a row) is checked by the caller, who made the index.

use crate::Error;
use crate::adapters::Pairs;
use crate::backend::{Arguments, Buffer, Kernel};
use openledger_tensor::{AttentionRule, Heads, KvForm, PAGE_TOKENS};

/// Elements of one block of element-wise kernels.
const PIECE: usize = 256;

macro_rules! kernels {
    ($($name:ident: $kernel:literal, $threads:literal;)*) => {
        $(const $name: Kernel = Kernel { name: $kernel, threads: $threads };)*
        /// Every kernel there is.
        pub(crate) const ALL: &[Kernel] = &[$($name),*];
    };
}

kernels! {
    EMBED_F32: "embed_f32", 256;
    EMBED_BF16: "embed_bf16", 256;
    RMS_NORM: "rms_norm", 128;
    ROPE: "rope", 64;
    ADD_ROWS: "add_rows", 256;
    ADD_BIAS: "add_bias", 256;
    GATE: "gate", 256;
    PICK_ROWS: "pick_rows", 256;
    SOFT_CAP: "soft_cap", 256;
    LOG_LIKELIHOOD: "log_likelihood", 256;
    GEMM_F32_MANY: "gemm_f32_many", 256;
    GEMM_F32_FEW: "gemm_f32_few", 128;
    ROUND_ROWS: "round_rows", 256;
    GEMM_BF16_FEW: "gemm_bf16_few", 64;
    GEMM_BF16_SOME: "gemm_bf16_some", 64;
    GEMM_BF16_MORE: "gemm_bf16_more", 64;
    GEMM_BF16_MANY: "gemm_bf16_many", 128;
    SHRINK: "low_rank_shrink", 128;
    EXPAND: "low_rank_expand", 128;
    WRITE_KV_F32: "write_kv_f32", 64;
    WRITE_KV_BF16: "write_kv_bf16", 64;
    ATTEND_1_F32: "attend_1_f32", 128;
    ATTEND_2_F32: "attend_2_f32", 128;
    ATTEND_3_F32: "attend_3_f32", 128;
    ATTEND_4_F32: "attend_4_f32", 128;
    ATTEND_1_BF16: "attend_1_bf16", 128;
    ATTEND_2_BF16: "attend_2_bf16", 128;
    ATTEND_3_BF16: "attend_3_bf16", 128;
    ATTEND_4_BF16: "attend_4_bf16", 128;
}

fn start(buffer: &Buffer, kernel: Kernel, grid: [usize; 3], a: Arguments) -> Result<(), Error> {
    buffer.backend().launch(kernel, grid, &a)
}

/// Rows of bf16 weights are padded with zeros to a multiple of this.
pub(crate) const PADDED: usize = 64;

/// y [rows, width] = scale · table[tokens]. `bf16`: the table's rows are bf16, padded.
pub(crate) fn embed(
    (tokens, rows): (&Buffer, usize),
    (table, bf16): (&Buffer, bool),
    width: usize,
    scale: f32,
    y: &Buffer,
) -> Result<(), Error> {
    let a = Arguments::default()
        .at(tokens.holding::<u32>(rows))
        .at(table.address())
        .at(y.holding::<f32>(rows * width))
        .n(rows)
        .n(width)
        .f(scale);
    start(y, if bf16 { EMBED_BF16 } else { EMBED_F32 }, [rows, 1, 1], a)
}

/// Where the parts of rows begin that are normalised: elements of a row, the first part's, and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormParts {
    pub(crate) stride: usize,
    pub(crate) from: usize,
    pub(crate) parts: usize,
}

/// yᵢ = xᵢ · r · wᵢ for each part [width] of each row; y has the places of x, and may be x.
pub(crate) fn rms_norm(
    x: &Buffer,
    weight: &Buffer,
    y: &Buffer,
    rows: usize,
    at: NormParts,
    eps: f32,
) -> Result<(), Error> {
    let width = weight.bytes() / 4;
    assert!(at.from + at.parts * width <= at.stride, "parts of a row");
    let from = 4 * at.from as u64;
    let a = Arguments::default()
        .at(x.holding::<f32>(rows * at.stride) + from)
        .at(weight.address())
        .at(y.holding::<f32>(rows * at.stride) + from)
        .n(rows)
        .n(at.parts)
        .n(width)
        .n(at.stride)
        .n(at.stride)
        .f(eps);
    start(y, RMS_NORM, [rows, at.parts, 1], a)
}

/// Turns the first `turned` heads of rows [rows, stride].
pub(crate) fn rope(
    x: &Buffer,
    (positions, rows): (&Buffer, usize),
    (cosines, sines): (&Buffer, &Buffer),
    stride: usize,
    turned: usize,
    half: usize,
) -> Result<(), Error> {
    assert!(turned * 2 * half <= stride, "heads of a row");
    let a = Arguments::default()
        .at(x.holding::<f32>(rows * stride))
        .at(positions.holding::<u32>(rows))
        .at(cosines.address())
        .at(sines.address())
        .n(rows)
        .n(stride)
        .n(turned)
        .n(half);
    start(x, ROPE, [rows, turned, 1], a)
}

/// y += x, both [rows, width].
pub(crate) fn add(y: &Buffer, x: &Buffer, rows: usize, width: usize) -> Result<(), Error> {
    let a = Arguments::default()
        .at(y.holding::<f32>(rows * width))
        .at(x.holding::<f32>(rows * width))
        .n(rows)
        .n(width);
    start(y, ADD_ROWS, [(rows * width).div_ceil(PIECE), 1, 1], a)
}

/// Every row of y [rows, width] += bias.
pub(crate) fn add_bias(y: &Buffer, bias: &Buffer, rows: usize) -> Result<(), Error> {
    let width = bias.bytes() / 4;
    let a =
        Arguments::default().at(y.holding::<f32>(rows * width)).at(bias.address()).n(rows).n(width);
    start(y, ADD_BIAS, [rows, 1, 1], a)
}

/// y [rows, width] = activation(gate) · up of gate_up [rows, 2 · width].
pub(crate) fn gate(
    gate_up: &Buffer,
    gelu: bool,
    rows: usize,
    width: usize,
    y: &Buffer,
) -> Result<(), Error> {
    let a = Arguments::default()
        .at(gate_up.holding::<f32>(rows * 2 * width))
        .at(y.holding::<f32>(rows * width))
        .n(rows)
        .n(width)
        .n(usize::from(gelu));
    start(y, GATE, [rows, width.div_ceil(PIECE), 1], a)
}

/// y [chosen, width] = some rows of x.
pub(crate) fn pick(
    x: &Buffer,
    (chosen, rows): (&Buffer, usize),
    width: usize,
    y: &Buffer,
) -> Result<(), Error> {
    let a = Arguments::default()
        .at(x.address())
        .at(chosen.holding::<u32>(rows))
        .at(y.holding::<f32>(rows * width))
        .n(rows)
        .n(width);
    start(y, PICK_ROWS, [rows, 1, 1], a)
}

/// x [rows, width] becomes cap · tanh(x / cap).
pub(crate) fn soft_cap(x: &Buffer, rows: usize, width: usize, cap: f32) -> Result<(), Error> {
    let a = Arguments::default().at(x.holding::<f32>(rows * width)).n(rows).n(width).f(cap);
    start(x, SOFT_CAP, [(rows * width).div_ceil(PIECE), 1, 1], a)
}

/// y [rows] = ln p of each row's target; the logits [rows, width] are overwritten.
pub(crate) fn log_likelihood(
    logits: &Buffer,
    (targets, rows): (&Buffer, usize),
    width: usize,
    y: &Buffer,
) -> Result<(), Error> {
    let a = Arguments::default()
        .at(logits.holding::<f32>(rows * width))
        .at(targets.holding::<u32>(rows))
        .at(y.holding::<f32>(rows))
        .n(rows)
        .n(width);
    start(y, LOG_LIKELIHOOD, [rows, 1, 1], a)
}

/// Most rows of the product that streams weights.
pub(crate) const FEW_ROWS: usize = 8;
const FEW_OUTPUTS: usize = 32;
const MANY: usize = 64;

/// y [rows, outputs] = x [rows, depth] · wᵀ, every sum in order.
pub(crate) fn gemm_f32(
    x: &Buffer,
    w: &Buffer,
    y: &Buffer,
    rows: usize,
    depth: usize,
    outputs: usize,
) -> Result<(), Error> {
    let a = Arguments::default()
        .at(x.holding::<f32>(rows * depth))
        .at(w.holding::<f32>(outputs * depth))
        .at(y.holding::<f32>(rows * outputs))
        .n(rows)
        .n(depth)
        .n(outputs);
    if rows <= FEW_ROWS {
        let grid = [outputs.div_ceil(FEW_OUTPUTS), rows.div_ceil(FEW_ROWS), 1];
        start(y, GEMM_F32_FEW, grid, a)
    } else {
        start(y, GEMM_F32_MANY, [outputs.div_ceil(MANY), rows.div_ceil(MANY), 1], a)
    }
}

/// y [rows, width padded] = x [rows, width] in bf16.
pub(crate) fn round_rows(x: &Buffer, y: &Buffer, rows: usize, width: usize) -> Result<(), Error> {
    let padded = width.next_multiple_of(PADDED);
    let a = Arguments::default()
        .at(x.holding::<f32>(rows * width))
        .at(y.holding::<u16>(rows * padded))
        .n(rows)
        .n(width);
    start(y, ROUND_ROWS, [rows, padded.div_ceil(PIECE), 1], a)
}

/// Most rows of the product with tiles of 32 rows.
pub(crate) const SOME_ROWS: usize = 32;
/// Most rows of the product with tiles of 32 outputs by 64 rows.
pub(crate) const MORE_ROWS: usize = 128;

/// y [rows, outputs] = x [rows, depth padded] · wᵀ, in bf16 by tensor cores.
pub(crate) fn gemm_bf16(
    x: &Buffer,
    w: &Buffer,
    y: &Buffer,
    rows: usize,
    depth: usize,
    outputs: usize,
) -> Result<(), Error> {
    let depth = depth.next_multiple_of(PADDED);
    let a = Arguments::default()
        .at(x.holding::<u16>(rows * depth))
        .at(w.holding::<u16>(outputs * depth))
        .at(y.holding::<f32>(rows * outputs))
        .n(rows)
        .n(depth)
        .n(outputs);
    let (kernel, tile_outputs, tile_rows) = match rows {
        n if n <= FEW_ROWS => (GEMM_BF16_FEW, 32, 8),
        n if n <= SOME_ROWS => (GEMM_BF16_SOME, 32, 32),
        n if n <= MORE_ROWS => (GEMM_BF16_MORE, 32, 64),
        _ => (GEMM_BF16_MANY, 128, 64),
    };
    start(y, kernel, [outputs.div_ceil(tile_outputs), rows.div_ceil(tile_rows), 1], a)
}

/// Threads that one sum of the first low-rank product is divided among where its bits are free.
const SHRINK_PARTS: usize = 8;

/// y [rows, outputs] += the low-rank updates of x [rows, inputs] by each row's pairs, in their order.
pub(crate) fn low_rank(
    pairs: &Pairs,
    group: usize,
    (x, inputs): (&Buffer, usize),
    low: &Buffer,
    (y, outputs): (&Buffer, usize),
    exact: bool,
) -> Result<(), Error> {
    let (count, width) = (pairs.count, pairs.width_max);
    if count == 0 {
        return Ok(());
    }
    assert!(pairs.row_end * inputs * 4 <= x.bytes(), "rows of x");
    assert!(pairs.row_end * outputs * 4 <= y.bytes(), "rows of y");
    let list = pairs.list.get().address();
    let shrink = Arguments::default()
        .at(list)
        .at(x.address())
        .at(low.holding::<f32>(count * width))
        .n(count)
        .n(group)
        .n(inputs)
        .n(width)
        .n(if exact { 1 } else { SHRINK_PARTS });
    start(y, SHRINK, [count, 1, 1], shrink)?;
    let expand = Arguments::default()
        .at(list)
        .at(low.address())
        .at(y.address())
        .at(pairs.first.get().holding::<u32>(pairs.rows + 1))
        .n(pairs.rows)
        .n(group)
        .n(width)
        .n(outputs);
    start(y, EXPAND, [pairs.rows, outputs.div_ceil(EXPAND.threads as usize), 1], expand)
}

/// Where the rows of a step stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places<'a> {
    pub(crate) rows: usize,
    /// Pages of all sequences.
    pub(crate) pages: &'a Buffer,
    /// Where in `pages` those of each row's sequence begin.
    pub(crate) table: &'a Buffer,
    /// Position of each row.
    pub(crate) positions: &'a Buffer,
}

/// The pages of one layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerPages<'a> {
    pub(crate) kv: &'a Buffer,
    pub(crate) form: KvForm,
    pub(crate) layer: usize,
    pub(crate) layers: usize,
}

/// Elements of a head's keys and values in one layer of a page.
pub(crate) fn head_elements(heads: Heads) -> usize {
    (heads.dim + heads.dim.next_multiple_of(16)) * PAGE_TOKENS
}

fn attention_arguments(
    rule: AttentionRule,
    qkv: &Buffer,
    pages: LayerPages<'_>,
    places: Places<'_>,
    out: u64,
) -> Arguments {
    let heads = rule.heads;
    Arguments::default()
        .at(qkv.holding::<f32>(places.rows * heads.row()))
        .at(pages.kv.address())
        .at(places.pages.address())
        .at(places.table.holding::<u32>(places.rows))
        .at(places.positions.holding::<u32>(places.rows))
        .at(out)
        .n(places.rows)
        .n(pages.layer)
        .n(pages.layers)
        .n(heads.query)
        .n(heads.key_value)
        .n(heads.dim)
        .n(rule.window.unwrap_or(0))
        .n(usize::from(rule.soft_cap.is_some()))
        .f(rule.scale)
        .f(rule.soft_cap.unwrap_or(0.0))
}

/// Writes the keys and values of new rows to their pages.
pub(crate) fn write_kv(
    rule: AttentionRule,
    qkv: &Buffer,
    pages: LayerPages<'_>,
    places: Places<'_>,
) -> Result<(), Error> {
    let a = attention_arguments(rule, qkv, pages, places, 0);
    let kernel = match pages.form {
        KvForm::F32 => WRITE_KV_F32,
        _ => WRITE_KV_BF16,
    };
    start(qkv, kernel, [places.rows, rule.heads.key_value, 1], a)
}

/// Attention of new rows to everything in their pages: out [rows, query heads · dim].
pub(crate) fn attend(
    rule: AttentionRule,
    qkv: &Buffer,
    pages: LayerPages<'_>,
    places: Places<'_>,
    out: &Buffer,
) -> Result<(), Error> {
    let heads = rule.heads;
    let group = heads.query / heads.key_value;
    // The most queries that share a reading of the keys, and divide their group.
    let together = (1..=4).rev().find(|n| group.is_multiple_of(*n)).expect("one divides all");
    let kernel = match (pages.form, together) {
        (KvForm::F32, 1) => ATTEND_1_F32,
        (KvForm::F32, 2) => ATTEND_2_F32,
        (KvForm::F32, 3) => ATTEND_3_F32,
        (KvForm::F32, _) => ATTEND_4_F32,
        (_, 1) => ATTEND_1_BF16,
        (_, 2) => ATTEND_2_BF16,
        (_, 3) => ATTEND_3_BF16,
        (_, _) => ATTEND_4_BF16,
    };
    let to = out.holding::<f32>(places.rows * heads.query * heads.dim);
    let a = attention_arguments(rule, qkv, pages, places, to);
    start(out, kernel, [places.rows, heads.key_value, group / together], a)
}
