/* A device for one block at a time, for tests: the threads of a block are fibers that take turns at barriers.
 *
 * Included by kernels/prelude.cu in place of CUDA. A barrier that not all threads reach ends the process with a
 * message: on a device it would be undefined. So does a stack that is used up, as a fault. */

#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef struct { float x, y, z, w; } __attribute__((aligned(16))) float4;
typedef struct { u32 x, y, z, w; } __attribute__((aligned(16))) uint4;

#define DEVICE static inline __attribute__((always_inline, unused))
#define SHARED static __thread __attribute__((aligned(16)))
#define UNROLL
#define UNROLL_BY(n)

#define THREADS_MAX 1024
#define STACK_BYTES (64 << 10)

enum state { READY, AT_BARRIER, AT_WARP, DONE };

struct fiber {
    jmp_buf at;
    enum state state;
    char *stack;
};

static __thread struct {
    u32 thread, x, y, z, threads;
    void (*body)(const void *);
    const void *arguments;
    ucontext_t caller_context;
    jmp_buf scheduler;
    struct fiber fibers[THREADS_MAX];
} running;

#define THREAD running.thread
#define BLOCK_X running.x
#define BLOCK_Y running.y
#define BLOCK_Z running.z

static void give_way(enum state state) {
    u32 me = running.thread;
    running.fibers[me].state = state;
    if (!_setjmp(running.fibers[me].at)) _longjmp(running.scheduler, 1);
    running.thread = me;
}

#define BARRIER() give_way(AT_BARRIER)
#define WARP_BARRIER() give_way(AT_WARP)

static void begin(void) {
    u32 me = running.thread;
    if (!_setjmp(running.fibers[me].at)) setcontext(&running.caller_context);
    running.thread = me;
    running.body(running.arguments);
    running.fibers[running.thread].state = DONE;
    _longjmp(running.scheduler, 1);
}

static void release(u32 from, u32 count, enum state waiting) {
    for (u32 t = from; t < from + count; t++)
        if (running.fibers[t].state != waiting) return;
    for (u32 t = from; t < from + count; t++) running.fibers[t].state = READY;
}

/* Gives a thread its stack and stops it at its beginning. */
static void prepare(u32 t) {
    struct fiber *fiber = &running.fibers[t];
    if (!fiber->stack) fiber->stack = malloc(STACK_BYTES);
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = fiber->stack;
    context.uc_stack.ss_size = STACK_BYTES;
    context.uc_link = 0;
    makecontext(&context, begin, 0);
    running.thread = t;
    fiber->state = READY;
    swapcontext(&running.caller_context, &context);
}

static void run_block(void) {
    for (u32 t = 0; t < running.threads; t++) prepare(t);
    for (;;) {
        volatile u32 moved = 0;
        for (volatile u32 t = 0; t < running.threads; t++) {
            if (running.fibers[t].state != READY) continue;
            moved = 1;
            running.thread = t;
            if (!_setjmp(running.scheduler)) _longjmp(running.fibers[t].at, 1);
        }
        u32 done = 0;
        for (u32 t = 0; t < running.threads; t++) done += running.fibers[t].state == DONE;
        if (done == running.threads) return;
        if (!moved) {
            fprintf(stderr, "emulated device: %u of %u threads ended, the others wait at barriers\n", done,
                    running.threads);
            abort();
        }
        for (u32 w = 0; w + 32 <= running.threads; w += 32) release(w, 32, AT_WARP);
        release(0, running.threads, AT_BARRIER);
    }
}

/* Runs every block of a grid. The symbol that the tests call, with the address of a kernel. */
void emulate(void (*body)(const void *), const u32 *grid, u32 threads, const void *arguments) {
    running.body = body;
    running.arguments = arguments;
    running.threads = threads;
    for (u32 z = 0; z < grid[2]; z++)
        for (u32 y = 0; y < grid[1]; y++)
            for (u32 x = 0; x < grid[0]; x++) {
                running.x = x, running.y = y, running.z = z;
                run_block();
            }
}

/* A kernel takes a copy of its arguments, and says with how many threads it wants to be run. */
#define KERNEL(name, arguments, count)                       \
    static void name##_body(const arguments a);              \
    const u32 name##_threads = count;                        \
    void name(const void *raw) {                             \
        arguments a;                                         \
        memcpy(&a, raw, sizeof a);                           \
        name##_body(a);                                      \
    }                                                        \
    static void name##_body(const arguments a)

static inline float __uint_as_float(u32 x) {
    float y;
    memcpy(&y, &x, 4);
    return y;
}

static inline u32 __float_as_uint(float x) {
    u32 y;
    memcpy(&y, &x, 4);
    return y;
}

/* Compiled with -ffp-contract=off, so each is rounded by itself. */
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }

/* Copies that run ahead are made only when they are waited for, so that a missing wait shows. */
#define COPIES_MAX 64
struct copy {
    uint4 *to;
    const void *from;
    u32 there, group;
};
static __thread struct {
    struct copy copies[COPIES_MAX];
    u32 first, end, group;
} ahead[THREADS_MAX];

static inline void COPY_LATER(uint4 *to, const void *from, u32 there) {
    u32 me = running.thread;
    if (ahead[me].end - ahead[me].first == COPIES_MAX) abort();
    struct copy copy = {to, from, there, ahead[me].group};
    ahead[me].copies[ahead[me].end++ % COPIES_MAX] = copy;
}

static inline void COPIES_END(void) { ahead[running.thread].group++; }

static inline void COPIES_WAIT(u32 left) {
    u32 me = running.thread;
    while (ahead[me].first != ahead[me].end) {
        struct copy copy = ahead[me].copies[ahead[me].first % COPIES_MAX];
        if (copy.group + left >= ahead[me].group) return;
        if (copy.there) memcpy(copy.to, copy.from, 16);
        else memset(copy.to, 0, 16);
        ahead[me].first++;
    }
}

/* A product by a warp: each thread lays down its fragments and takes its four results. */
static __thread struct {
    u32 a[4], b[2];
} fragments[THREADS_MAX];

static inline float half_of(u32 pair, u32 high) { return __uint_as_float(high ? pair & 0xffff0000u : pair << 16); }

static inline void MULTIPLY_16x8x16(float *c, const u32 *a, const u32 *b) {
    u32 me = running.thread, warp = me / 32 * 32, g = me % 32 / 4, q = me % 4;
    memcpy(fragments[me].a, a, 16);
    memcpy(fragments[me].b, b, 8);
    WARP_BARRIER();
    for (u32 i = 0; i < 4; i++) {
        u32 column = 2 * q + i % 2;
        for (u32 k = 0; k < 16; k++) {
            u32 left = fragments[warp + g * 4 + k % 8 / 2].a[i / 2 + 2 * (k / 8)];
            u32 right = fragments[warp + column * 4 + k % 8 / 2].b[k / 8];
            c[i] = fmaf(half_of(left, k % 2), half_of(right, k % 2), c[i]);
        }
    }
    WARP_BARRIER();
}
