// What happens to rows between the products. One thread per element, except in the norm.

typedef struct {
    const u32 *tokens;
    const void *table;
    float *y;
    u32 rows, width;
    float scale;
} embed_args;

KERNEL(embed_f32, embed_args, 256) {
    const float *from = (const float *)a.table + (u64)a.tokens[BLOCK_X] * a.width;
    for (u32 i = THREAD; i < a.width; i += 256) a.y[(u64)BLOCK_X * a.width + i] = MUL(from[i], a.scale);
}

// The table's rows are padded as the weights of bf16 products are.
KERNEL(embed_bf16, embed_args, 256) {
    u32 stride = (a.width + 63) / 64 * 64;
    const u16 *from = (const u16 *)a.table + (u64)a.tokens[BLOCK_X] * stride;
    for (u32 i = THREAD; i < a.width; i += 256)
        a.y[(u64)BLOCK_X * a.width + i] = MUL(widen(from[i]), a.scale);
}

typedef struct {
    const float *x;
    const float *weight;
    float *y;
    u32 rows, parts, width, x_stride, y_stride;
    float eps;
} norm_args;

#define NORM_TILE 1024

// Grid: rows, parts; part p of a row begins at p * width. y may be x.
KERNEL(rms_norm, norm_args, 128) {
    SHARED float tile[NORM_TILE];
    SHARED float lanes[LANES];
    const float *x = a.x + (u64)BLOCK_X * a.x_stride + BLOCK_Y * a.width;
    float *y = a.y + (u64)BLOCK_X * a.y_stride + BLOCK_Y * a.width;
    float sum = 0.0f;
    for (u32 from = 0; from < a.width; from += NORM_TILE) {
        u32 n = smaller(NORM_TILE, a.width - from);
        for (u32 i = THREAD; i < n; i += 128) tile[i] = x[from + i];
        BARRIER();
        if (THREAD < LANES)
            for (u32 i = THREAD; i < n; i += LANES) sum = FMA(tile[i], tile[i], sum);
        BARRIER();
    }
    if (THREAD < LANES) lanes[THREAD] = sum;
    BARRIER();
    float r = exact_rsqrt(ADD(DIV(sum_of_lanes(lanes), (float)a.width), a.eps));
    for (u32 i = THREAD; i < a.width; i += 128) y[i] = MUL(MUL(x[i], r), a.weight[i]);
}

typedef struct {
    float *x;
    const u32 *positions;
    const float *cosines;
    const float *sines;
    u32 rows, stride, heads, half;
} rope_args;

// Grid: rows, heads.
KERNEL(rope, rope_args, 64) {
    float *x = a.x + (u64)BLOCK_X * a.stride + BLOCK_Y * 2 * a.half;
    u64 at = (u64)a.positions[BLOCK_X] * a.half;
    for (u32 i = THREAD; i < a.half; i += 64) {
        float c = a.cosines[at + i], s = a.sines[at + i], p = x[i], q = x[i + a.half];
        x[i] = FMA(p, c, -MUL(q, s));
        x[i + a.half] = FMA(q, c, MUL(p, s));
    }
}

typedef struct {
    float *y;
    const float *x;
    u32 rows, width;
} add_args;

// y += x. Grid: pieces of 256.
KERNEL(add_rows, add_args, 256) {
    u64 i = (u64)BLOCK_X * 256 + THREAD;
    if (i < (u64)a.rows * a.width) a.y[i] = ADD(a.y[i], a.x[i]);
}

// Every row += x. Grid: rows.
KERNEL(add_bias, add_args, 256) {
    float *y = a.y + (u64)BLOCK_X * a.width;
    for (u32 i = THREAD; i < a.width; i += 256) y[i] = ADD(y[i], a.x[i]);
}

typedef struct {
    const float *gate_up;
    float *y;
    u32 rows, width, gelu;
} gate_args;

// Grid: rows, pieces of 256.
KERNEL(gate, gate_args, 256) {
    u32 i = BLOCK_Y * 256 + THREAD;
    if (i >= a.width) return;
    const float *row = a.gate_up + (u64)BLOCK_X * 2 * a.width;
    float opened = a.gelu ? gelu(row[i]) : silu(row[i]);
    a.y[(u64)BLOCK_X * a.width + i] = MUL(opened, row[a.width + i]);
}

typedef struct {
    const float *x;
    const u32 *chosen;
    float *y;
    u32 rows, width;
} pick_args;

// y[i] = x[chosen[i]]. Grid: rows.
KERNEL(pick_rows, pick_args, 256) {
    const float *from = a.x + (u64)a.chosen[BLOCK_X] * a.width;
    for (u32 i = THREAD; i < a.width; i += 256) a.y[(u64)BLOCK_X * a.width + i] = from[i];
}

typedef struct {
    float *x;
    u32 rows, width;
    float cap;
} cap_args;

// Grid: pieces of 256.
KERNEL(soft_cap, cap_args, 256) {
    u64 i = (u64)BLOCK_X * 256 + THREAD;
    if (i < (u64)a.rows * a.width) a.x[i] = capped(a.x[i], a.cap);
}

typedef struct {
    float *logits;
    const u32 *targets;
    float *y;
    u32 rows, width;
} likelihood_args;

// ln p of each row's target. Grid: rows. The row is overwritten.
KERNEL(log_likelihood, likelihood_args, 256) {
    SHARED float each[256];
    SHARED float lanes[LANES];
    float *x = a.logits + (u64)BLOCK_X * a.width;
    float above = x[a.targets[BLOCK_X]];
    float most = -__uint_as_float(0x7f800000u);
    for (u32 i = THREAD; i < a.width; i += 256) most = x[i] > most ? x[i] : most;
    each[THREAD] = most;
    BARRIER();
    for (u32 i = 0; i < 256; i++) most = each[i] > most ? each[i] : most;
    for (u32 i = THREAD; i < a.width; i += 256) x[i] = exact_exp(SUB(x[i], most));
    BARRIER();
    if (THREAD < LANES) {
        float sum = 0.0f;
        for (u32 i = THREAD; i < a.width; i += LANES) sum = ADD(sum, x[i]);
        lanes[THREAD] = sum;
    }
    BARRIER();
    if (THREAD == 0) a.y[BLOCK_X] = SUB(SUB(above, most), exact_ln(sum_of_lanes(lanes)));
}
