// y += scale * (x * A) * B for rows that each have adapters of their own. Sums run in order, over bf16
// matrices as crates/tensor/src/low_rank packs them: A of all sites [inputs][width], B of each [rank][outputs].

#define SITES_MAX 3

typedef struct {
    const u16 *b;
    u32 rank, offset, outputs;
    float scale;
} low_rank_site;

// An adapter's part in one group of one layer; the array of all of them is its directory.
typedef struct {
    const u16 *a;
    u32 width, sites;
    low_rank_site site[SITES_MAX];
} low_rank_group;

// One adapter of one row.
typedef struct {
    const low_rank_group *directory;
    u32 row;
    float weight;
} low_rank_pair;

typedef struct {
    const low_rank_pair *pairs;
    const float *x;
    float *low;
    u32 count, group, inputs, width_max, parts;
} shrink_args;

// Elements of A, and steps of k, in one tile.
#define SHRINK_TILE 6144
#define SHRINK_STEPS 512
// Ranks of one thread: three sites of rank 256 in 128 threads.
#define SHRINK_RANKS 6

// low[pair] = scale * weight * x * A. Grid: pairs. `parts` = 1 gives one chain over the inputs; more divide
// each tile among threads and add the parts in order, which is faster and has other bits.
KERNEL(low_rank_shrink, shrink_args, 128) {
    SHARED uint4 tile[SHRINK_TILE / 8];
    SHARED float xs[SHRINK_STEPS];
    SHARED float partial[128];
    low_rank_pair pair = a.pairs[BLOCK_X];
    const low_rank_group *group = pair.directory + a.group;
    u32 width = group->width;
    if (width == 0) return;
    const float *x = a.x + (u64)pair.row * a.inputs;
    const u16 *elements = (const u16 *)tile;
    // Whole vectors of eight: `steps` is a multiple of eight, so every tile begins at sixteen bytes.
    u32 steps = smaller(SHRINK_STEPS, SHRINK_TILE / width / 8 * 8);
    u32 parts = width <= 64 ? smaller(a.parts, 128 / width) : 1;
    u32 mine = parts > 1 ? THREAD % width : THREAD, part = parts > 1 ? THREAD / width : 0;
    float sums[SHRINK_RANKS];
    UNROLL for (u32 i = 0; i < SHRINK_RANKS; i++) sums[i] = 0.0f;
    for (u32 k0 = 0; k0 < a.inputs; k0 += steps) {
        u32 n = smaller(steps, a.inputs - k0);
        const uint4 *from = (const uint4 *)(group->a + (u64)k0 * width);
        for (u32 i = THREAD; i < (n * width + 7) / 8; i += 128) tile[i] = from[i];
        for (u32 i = THREAD; i < n; i += 128) xs[i] = x[k0 + i];
        BARRIER();
        if (parts > 1) {
            u32 piece = (n + parts - 1) / parts, end = smaller(n, (part + 1) * piece);
            if (part < parts)
                for (u32 k = part * piece; k < end; k++)
                    sums[0] = FMA(xs[k], widen(elements[k * width + mine]), sums[0]);
        } else {
            UNROLL for (u32 i = 0; i < SHRINK_RANKS; i++) {
                u32 rank = THREAD + 128 * i;
                if (rank < width) {
                    float sum = sums[i];
                    UNROLL_BY(8) for (u32 k = 0; k < n; k++)
                        sum = FMA(xs[k], widen(elements[k * width + rank]), sum);
                    sums[i] = sum;
                }
            }
        }
        BARRIER();
    }
    if (parts > 1) {
        partial[THREAD] = sums[0];
        BARRIER();
        if (THREAD < width) {
            sums[0] = partial[THREAD];
            for (u32 p = 1; p < parts; p++) sums[0] = ADD(sums[0], partial[p * width + THREAD]);
        }
    }
    UNROLL for (u32 i = 0; i < SHRINK_RANKS; i++) {
        u32 rank = THREAD + 128 * i;
        if (rank < width) {
            u32 site = 0, end = group->site[0].rank;
            while (rank >= end) end += group->site[++site].rank;
            float scale = MUL(group->site[site].scale, pair.weight);
            a.low[(u64)BLOCK_X * a.width_max + rank] = MUL(sums[i], scale);
        }
    }
}

typedef struct {
    const low_rank_pair *pairs;
    const float *low;
    float *y;
    // For each row that has pairs: its first pair, and after the last row the number of pairs.
    const u32 *first;
    u32 rows, group, width_max, outputs;
} expand_args;

// y += low * B, the pairs of a row in order. Grid: rows that have pairs, pieces of 128 outputs.
KERNEL(low_rank_expand, expand_args, 128) {
    u32 column = BLOCK_Y * 128 + THREAD;
    if (column >= a.outputs) return;
    u32 from = a.first[BLOCK_X], to = a.first[BLOCK_X + 1];
    float *y = a.y + (u64)a.pairs[from].row * a.outputs + column;
    float sum = *y;
    for (u32 p = from; p < to; p++) {
        const low_rank_group *group = a.pairs[p].directory + a.group;
        const float *low = a.low + (u64)p * a.width_max;
        for (u32 s = 0; s < group->sites; s++) {
            low_rank_site site = group->site[s];
            if (column >= site.offset && column < site.offset + site.outputs) {
                const u16 *b = site.b + (column - site.offset);
                UNROLL_BY(8) for (u32 r = 0; r < site.rank; r++)
                    sum = FMA(low[r], widen(b[(u64)r * site.outputs]), sum);
            }
            low += site.rank;
        }
    }
    *y = sum;
}
