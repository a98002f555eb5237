// Keys and values in pages of sixteen positions, as crates/tensor/src/paged_kv.rs lays them out, and attention
// over them with the sums of paged_attention.rs: scores over the head's elements, lanes of exponentials, and
// probability times value over positions, each in order.

#define PAGE 16
// Positions whose scores are held at once, for each of four queries.
#define POSITIONS 1024
#define QUERIES 4
#define HEAD_MAX 512
#define HEAD_THREADS 128

typedef struct {
    const float *qkv;
    void *kv;
    // Pages of all sequences one after the other; a row's begin at its `table`.
    const u32 *pages;
    const u32 *table;
    const u32 *positions;
    float *out;
    u32 rows, layer, layers, query_heads, kv_heads, dim;
    u32 window, has_cap;
    float scale, cap;
} attention_args;

// First element of a head's block in one layer of a page.
DEVICE u64 kv_block(const attention_args *a, u32 page, u32 head) {
    u32 padded = (a->dim + LANES - 1) / LANES * LANES;
    return (((u64)page * a->layers + a->layer) * a->kv_heads + head) * ((a->dim + padded) * PAGE);
}

DEVICE u32 page_of(const attention_args *a, u32 row, u32 position) {
    return a->pages[a->table[row] + position / PAGE];
}

DEVICE void write_kv(const attention_args *a, u32 half) {
    u32 row = BLOCK_X, head = BLOCK_Y, dim = a->dim, position = a->positions[row];
    u32 padded = (dim + LANES - 1) / LANES * LANES, slot = position % PAGE;
    u64 block = kv_block(a, page_of(a, row, position), head);
    u64 width = (u64)(a->query_heads + 2 * a->kv_heads) * dim;
    const float *key = a->qkv + row * width + (u64)(a->query_heads + head) * dim;
    const float *value = key + (u64)a->kv_heads * dim;
    for (u32 d = THREAD; d < dim; d += 64) {
        u64 to_key = block + d * PAGE + slot, to_value = block + dim * PAGE + slot * padded + d;
        if (half) {
            ((u16 *)a->kv)[to_key] = to_bf16(key[d]);
            ((u16 *)a->kv)[to_value] = to_bf16(value[d]);
        } else {
            ((float *)a->kv)[to_key] = key[d];
            ((float *)a->kv)[to_value] = value[d];
        }
    }
}

// Grid: rows, key-value heads.
KERNEL(write_kv_f32, attention_args, 64) { write_kv(&a, 0); }
KERNEL(write_kv_bf16, attention_args, 64) { write_kv(&a, 1); }

DEVICE float element(const void *kv, u64 at, u32 half) {
    return half ? widen(((const u16 *)kv)[at]) : ((const float *)kv)[at];
}

// One row's queries of one key-value head, `queries` of them from the BLOCK_Z-th group on. Three passes over the
// positions: the largest score, the sum, the values. Scores are computed again in each pass, unless one tile
// holds them all. `half` and `queries` are constants where this is inlined.
DEVICE void attend(const attention_args *a, u32 half, u32 queries) {
    SHARED float q[QUERIES][HEAD_MAX];
    SHARED float scores[QUERIES][POSITIONS];
    SHARED float each[QUERIES][HEAD_THREADS];
    u32 row = BLOCK_X, head = BLOCK_Y, dim = a->dim, group = a->query_heads / a->kv_heads;
    u32 padded = (dim + LANES - 1) / LANES * LANES, query0 = head * group + BLOCK_Z * queries;
    u32 end = a->positions[row] + 1;
    u32 unseen = a->window && end > a->window ? end - a->window : 0;
    u32 start = unseen / PAGE * PAGE;
    const float *from = a->qkv + (u64)row * (a->query_heads + 2 * a->kv_heads) * dim + (u64)query0 * dim;
    for (u32 i = THREAD; i < queries * dim; i += HEAD_THREADS) q[i / dim][i % dim] = from[i];
    BARRIER();
    float most[QUERIES], inverse[QUERIES], sums[QUERIES][HEAD_MAX / HEAD_THREADS];
    UNROLL for (u32 i = 0; i < queries; i++) {
        most[i] = -__uint_as_float(0x7f800000u);
        inverse[i] = 0.0f;
        UNROLL for (u32 c = 0; c < HEAD_MAX / HEAD_THREADS; c++) sums[i][c] = 0.0f;
    }
    u32 single = end - start <= POSITIONS;
    // The sum of lane THREAD % 16 of query THREAD / 16.
    float lane = 0.0f;
    for (u32 pass = 0; pass < 3; pass++) {
        for (u32 p0 = start; p0 < end; p0 += POSITIONS) {
            u32 n = smaller(POSITIONS, end - p0);
            for (u32 i = THREAD; i < n && (pass == 0 || !single); i += HEAD_THREADS) {
                u32 position = p0 + i;
                u64 key = kv_block(a, page_of(a, row, position), head) + position % PAGE;
                float score[QUERIES];
                UNROLL for (u32 j = 0; j < queries; j++) score[j] = 0.0f;
                UNROLL_BY(8) for (u32 d = 0; d < dim; d++) {
                    float k = element(a->kv, key + d * PAGE, half);
                    UNROLL for (u32 j = 0; j < queries; j++) score[j] = FMA(q[j][d], k, score[j]);
                }
                UNROLL for (u32 j = 0; j < queries; j++) {
                    float s = MUL(score[j], a->scale);
                    if (a->has_cap) s = capped(s, a->cap);
                    if (position < unseen) s = -__uint_as_float(0x7f800000u);
                    scores[j][i] = s;
                    if (pass == 0) most[j] = s > most[j] ? s : most[j];
                }
            }
            if (pass == 0) continue;
            // Each thread goes on with the scores it wrote itself.
            for (u32 i = THREAD; i < n; i += HEAD_THREADS)
                UNROLL for (u32 j = 0; j < queries; j++) {
                    float s = scores[j][i];
                    if (pass == 1 || !single) s = exact_exp(SUB(s, most[j]));
                    scores[j][i] = pass == 1 ? s : MUL(s, inverse[j]);
                }
            BARRIER();
            if (pass == 1 && THREAD < queries * LANES)
                for (u32 i = THREAD % LANES; i < n; i += LANES) lane = ADD(lane, scores[THREAD / LANES][i]);
            if (pass == 2)
                UNROLL for (u32 c = 0; c < HEAD_MAX / HEAD_THREADS; c++) {
                    u32 d = THREAD + HEAD_THREADS * c;
                    if (d < dim)
                        for (u32 i = 0; i < n; i += PAGE) {
                            u64 block = kv_block(a, page_of(a, row, p0 + i), head);
                            u64 value = block + dim * PAGE + d;
                            u32 slots = smaller(PAGE, n - i);
                            UNROLL_BY(8) for (u32 t = 0; t < slots; t++) {
                                float v = element(a->kv, value + t * padded, half);
                                UNROLL for (u32 j = 0; j < queries; j++)
                                    sums[j][c] = FMA(scores[j][i + t], v, sums[j][c]);
                            }
                        }
                }
            BARRIER();
        }
        if (pass == 0) {
            UNROLL for (u32 j = 0; j < queries; j++) each[j][THREAD] = most[j];
            BARRIER();
            UNROLL for (u32 j = 0; j < queries; j++)
                for (u32 i = 0; i < HEAD_THREADS; i++) most[j] = each[j][i] > most[j] ? each[j][i] : most[j];
            BARRIER();
        }
        if (pass == 1) {
            if (THREAD < queries * LANES) each[THREAD / LANES][THREAD % LANES] = lane;
            BARRIER();
            UNROLL for (u32 j = 0; j < queries; j++) inverse[j] = DIV(1.0f, sum_of_lanes(each[j]));
            BARRIER();
        }
    }
    float *out = a->out + (u64)row * a->query_heads * dim + (u64)query0 * dim;
    UNROLL for (u32 c = 0; c < HEAD_MAX / HEAD_THREADS; c++) {
        u32 d = THREAD + HEAD_THREADS * c;
        // A zero is made positive, whatever was added to it.
        if (d < dim) UNROLL for (u32 j = 0; j < queries; j++) out[j * dim + d] = ADD(sums[j][c], 0.0f);
    }
}

// Grid: rows, key-value heads, groups of so many queries.
KERNEL(attend_1_f32, attention_args, HEAD_THREADS) { attend(&a, 0, 1); }
KERNEL(attend_2_f32, attention_args, HEAD_THREADS) { attend(&a, 0, 2); }
KERNEL(attend_3_f32, attention_args, HEAD_THREADS) { attend(&a, 0, 3); }
KERNEL(attend_4_f32, attention_args, HEAD_THREADS) { attend(&a, 0, 4); }
KERNEL(attend_1_bf16, attention_args, HEAD_THREADS) { attend(&a, 1, 1); }
KERNEL(attend_2_bf16, attention_args, HEAD_THREADS) { attend(&a, 1, 2); }
KERNEL(attend_3_bf16, attention_args, HEAD_THREADS) { attend(&a, 1, 3); }
KERNEL(attend_4_bf16, attention_args, HEAD_THREADS) { attend(&a, 1, 4); }
