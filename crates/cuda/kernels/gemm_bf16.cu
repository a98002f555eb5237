// y [rows, outputs] = x [rows, depth] * w [outputs, depth] transposed, in bf16 with sums in f32 by tensor cores.
//
// Weights are the left operand (sixteen outputs), rows the right one (eight rows), so a few rows waste little. An
// element is one chain of products of sixteen steps over depth in order, whatever the tile: its bits depend on its
// row and its weights alone. Both operands are padded with zeros to a depth that 64 divides.

typedef struct {
    const float *x;
    u16 *y;
    u32 rows, width;
} round_args;

// Rows in bf16, padded. Grid: rows, pieces of 256.
KERNEL(round_rows, round_args, 256) {
    u32 i = BLOCK_Y * 256 + THREAD, stride = (a.width + 63) / 64 * 64;
    if (i < stride) a.y[(u64)BLOCK_X * stride + i] = i < a.width ? to_bf16(a.x[(u64)BLOCK_X * a.width + i]) : 0;
}

typedef struct {
    const u16 *x;
    const u16 *w;
    float *y;
    u32 rows, depth, outputs;
} half_gemm_args;

// Steps of k in a tile: eight vectors of sixteen bytes. Vector s of line r lies at s ^ (r & 7), so that neither
// writing lines nor reading fragments meets a bank twice.
#define STEPS 64
#define VECTORS 8
// 48 KiB, what a block has without asking for more.
#define TILE_VECTORS 3072

DEVICE u32 fragment(const uint4 *tile, u32 line, u32 vector, u32 word) {
    return ((const u32 *)&tile[line * VECTORS + (vector ^ (line & 7))])[word];
}

DEVICE void fetch(const half_gemm_args *a, uint4 *tile, u32 k0, u32 outputs, u32 rows, u32 threads) {
    for (u32 i = THREAD; i < (outputs + rows) * VECTORS; i += threads) {
        u32 line = i / VECTORS, vector = i % VECTORS;
        u32 weights = line < outputs;
        u32 row = weights ? BLOCK_X * outputs + line : BLOCK_Y * rows + line - outputs;
        u32 there = row < (weights ? a->outputs : a->rows);
        const u16 *from = weights ? a->w : a->x;
        if (there) from += (u64)row * a->depth + k0 + vector * 8;
        COPY_LATER(&tile[line * VECTORS + (vector ^ (line & 7))], from, there);
    }
}

// A block of `warps` warps, each with 16 * `high` outputs, by 8 * `wide` rows; tiles arrive `stages` - 1 ahead. All
// four are constants where this is inlined.
DEVICE void half_gemm(const half_gemm_args *a, u32 warps, u32 high, u32 wide, u32 stages) {
    SHARED uint4 tiles[TILE_VECTORS];
    u32 outputs = 16 * high * warps, rows = 8 * wide, threads = 32 * warps;
    u32 each = (outputs + rows) * VECTORS, count = a->depth / STEPS;
    u32 warp = THREAD / 32, g = THREAD % 32 / 4, q = THREAD % 4;
    float sums[2][8][4];
    UNROLL for (u32 i = 0; i < high; i++)
        UNROLL for (u32 j = 0; j < wide; j++)
            UNROLL for (u32 c = 0; c < 4; c++) sums[i][j][c] = 0.0f;
    for (u32 t = 0; t + 1 < stages; t++) {
        if (t < count) fetch(a, tiles + t * each, t * STEPS, outputs, rows, threads);
        COPIES_END();
    }
    for (u32 t = 0; t < count; t++) {
        COPIES_WAIT(stages - 2);
        BARRIER();
        u32 next = t + stages - 1;
        if (next < count) fetch(a, tiles + next % stages * each, next * STEPS, outputs, rows, threads);
        COPIES_END();
        const uint4 *tile = tiles + t % stages * each;
        UNROLL for (u32 k = 0; k < VECTORS; k += 2) {
            u32 left[2][4];
            UNROLL for (u32 i = 0; i < high; i++) {
                u32 line = (warp * high + i) * 16 + g;
                left[i][0] = fragment(tile, line, k, q), left[i][1] = fragment(tile, line + 8, k, q);
                left[i][2] = fragment(tile, line, k + 1, q), left[i][3] = fragment(tile, line + 8, k + 1, q);
            }
            UNROLL for (u32 j = 0; j < wide; j++) {
                u32 line = outputs + 8 * j + g, right[2];
                right[0] = fragment(tile, line, k, q), right[1] = fragment(tile, line, k + 1, q);
                UNROLL for (u32 i = 0; i < high; i++) MULTIPLY_16x8x16(sums[i][j], left[i], right);
            }
        }
    }
    UNROLL for (u32 i = 0; i < high; i++) {
        u32 output = BLOCK_X * outputs + (warp * high + i) * 16 + g;
        UNROLL for (u32 j = 0; j < wide; j++) {
            u32 row = BLOCK_Y * rows + 8 * j + 2 * q;
            UNROLL for (u32 c = 0; c < 4; c++) {
                u32 to_row = row + c % 2, to = output + c / 2 * 8;
                if (to_row < a->rows && to < a->outputs) a->y[(u64)to_row * a->outputs + to] = sums[i][j][c];
            }
        }
    }
}

// Up to 8, up to 32, up to 128, and more rows; narrow tiles keep more of the device busy with the weights of few
// rows. Grid: outputs, rows.
KERNEL(gemm_bf16_few, half_gemm_args, 64) { half_gemm(&a, 2, 1, 1, 8); }
KERNEL(gemm_bf16_some, half_gemm_args, 64) { half_gemm(&a, 2, 1, 4, 6); }
KERNEL(gemm_bf16_more, half_gemm_args, 64) { half_gemm(&a, 2, 1, 8, 4); }
KERNEL(gemm_bf16_many, half_gemm_args, 128) { half_gemm(&a, 4, 2, 8, 2); }
