// y [rows, outputs] = x [rows, depth] * w [outputs, depth] transposed, each element one chain of fused
// multiply-adds over depth in order, from zero. Tiles and threads divide elements, never a chain.

typedef struct {
    const float *x;
    const float *w;
    float *y;
    u32 rows, depth, outputs;
} gemm_args;

// Four neighbours of row `row`, zero where there are none. Rows of a depth that four divides are aligned.
DEVICE float4 four(const float *x, u32 row, u32 rows, u32 at, u32 depth) {
    float4 v;
    v.x = v.y = v.z = v.w = 0.0f;
    if (row >= rows || at >= depth) return v;
    const float *p = x + (u64)row * depth + at;
    if (depth % 4 == 0) return *(const float4 *)p;
    v.x = p[0];
    if (at + 1 < depth) v.y = p[1];
    if (at + 2 < depth) v.z = p[2];
    if (at + 3 < depth) v.w = p[3];
    return v;
}

#define WIDE 64
#define WIDE_DEPTH 16

// For many rows: 64 rows by 64 outputs, four by four for each thread. Grid: outputs, rows.
KERNEL(gemm_f32_many, gemm_args, 256) {
    SHARED float xs[WIDE_DEPTH][WIDE + 4];
    SHARED float ws[WIDE_DEPTH][WIDE + 4];
    u32 row = THREAD / 4, part = THREAD % 4 * 4;
    u32 tx = THREAD % 16 * 4, ty = THREAD / 16 * 4;
    u32 x_row = BLOCK_Y * WIDE + row, w_row = BLOCK_X * WIDE + row;
    float sums[4][4];
    UNROLL for (u32 i = 0; i < 4; i++)
        UNROLL for (u32 j = 0; j < 4; j++) sums[i][j] = 0.0f;
    float4 next_x = four(a.x, x_row, a.rows, part, a.depth);
    float4 next_w = four(a.w, w_row, a.outputs, part, a.depth);
    for (u32 k0 = 0; k0 < a.depth; k0 += WIDE_DEPTH) {
        xs[part][row] = next_x.x, xs[part + 1][row] = next_x.y;
        xs[part + 2][row] = next_x.z, xs[part + 3][row] = next_x.w;
        ws[part][row] = next_w.x, ws[part + 1][row] = next_w.y;
        ws[part + 2][row] = next_w.z, ws[part + 3][row] = next_w.w;
        BARRIER();
        next_x = four(a.x, x_row, a.rows, k0 + WIDE_DEPTH + part, a.depth);
        next_w = four(a.w, w_row, a.outputs, k0 + WIDE_DEPTH + part, a.depth);
        u32 steps = smaller(WIDE_DEPTH, a.depth - k0);
        if (steps == WIDE_DEPTH) {
            UNROLL for (u32 k = 0; k < WIDE_DEPTH; k++) {
                float4 p = *(const float4 *)&xs[k][ty], q = *(const float4 *)&ws[k][tx];
                float px[4] = {p.x, p.y, p.z, p.w}, qx[4] = {q.x, q.y, q.z, q.w};
                UNROLL for (u32 i = 0; i < 4; i++)
                    UNROLL for (u32 j = 0; j < 4; j++) sums[i][j] = FMA(px[i], qx[j], sums[i][j]);
            }
        } else {
            for (u32 k = 0; k < steps; k++)
                UNROLL for (u32 i = 0; i < 4; i++)
                    UNROLL for (u32 j = 0; j < 4; j++)
                        sums[i][j] = FMA(xs[k][ty + i], ws[k][tx + j], sums[i][j]);
        }
        BARRIER();
    }
    UNROLL for (u32 i = 0; i < 4; i++) {
        u32 y_row = BLOCK_Y * WIDE + ty + i;
        UNROLL for (u32 j = 0; j < 4; j++) {
            u32 column = BLOCK_X * WIDE + tx + j;
            if (y_row < a.rows && column < a.outputs)
                a.y[(u64)y_row * a.outputs + column] = sums[i][j];
        }
    }
}

#define FEW_ROWS 8
#define FEW_OUTPUTS 32
#define FEW_DEPTH 128

// For up to eight rows: 32 outputs, whose weights stream through; thread t has output t % 32 and rows t / 32
// and t / 32 + 4. Grid: outputs, rows.
KERNEL(gemm_f32_few, gemm_args, 128) {
    SHARED float xs[FEW_ROWS][FEW_DEPTH + 4];
    SHARED float ws[FEW_OUTPUTS][FEW_DEPTH + 4];
    u32 output = THREAD % 32, first = THREAD / 32, row0 = BLOCK_Y * FEW_ROWS, w0 = BLOCK_X * FEW_OUTPUTS;
    // Thread t carries to the tile its elements 4t, 4t + 512, ...: a warp reads whole rows of 128.
    float4 next_w[8], next_x[2];
    float sums[2] = {0.0f, 0.0f};
    u32 part = output * 4;
    UNROLL for (u32 i = 0; i < 8; i++) next_w[i] = four(a.w, w0 + first + 4 * i, a.outputs, part, a.depth);
    UNROLL for (u32 i = 0; i < 2; i++) next_x[i] = four(a.x, row0 + first + 4 * i, a.rows, part, a.depth);
    u32 one = row0 + first < a.rows, two = row0 + first + 4 < a.rows;
    for (u32 k0 = 0; k0 < a.depth; k0 += FEW_DEPTH) {
        UNROLL for (u32 i = 0; i < 8; i++) *(float4 *)&ws[first + 4 * i][part] = next_w[i];
        UNROLL for (u32 i = 0; i < 2; i++) *(float4 *)&xs[first + 4 * i][part] = next_x[i];
        BARRIER();
        u32 later = k0 + FEW_DEPTH + part;
        UNROLL for (u32 i = 0; i < 8; i++)
            next_w[i] = four(a.w, w0 + first + 4 * i, a.outputs, later, a.depth);
        UNROLL for (u32 i = 0; i < 2; i++)
            next_x[i] = four(a.x, row0 + first + 4 * i, a.rows, later, a.depth);
        u32 steps = smaller(FEW_DEPTH, a.depth - k0), k = 0;
        if (one) {
            for (; k + 4 <= steps; k += 4) {
                float4 w = *(const float4 *)&ws[output][k];
                float4 x = *(const float4 *)&xs[first][k];
                sums[0] = FMA(x.w, w.w, FMA(x.z, w.z, FMA(x.y, w.y, FMA(x.x, w.x, sums[0]))));
                if (two) {
                    float4 z = *(const float4 *)&xs[first + 4][k];
                    sums[1] = FMA(z.w, w.w, FMA(z.z, w.z, FMA(z.y, w.y, FMA(z.x, w.x, sums[1]))));
                }
            }
            for (; k < steps; k++) {
                sums[0] = FMA(xs[first][k], ws[output][k], sums[0]);
                if (two) sums[1] = FMA(xs[first + 4][k], ws[output][k], sums[1]);
            }
        }
        BARRIER();
    }
    if (w0 + output < a.outputs) {
        float *y = a.y + (u64)(row0 + first) * a.outputs + w0 + output;
        if (one) y[0] = sums[0];
        if (two) y[(u64)4 * a.outputs] = sums[1];
    }
}
