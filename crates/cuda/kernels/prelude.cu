// What every kernel stands on. The sources are C and CUDA C++ at once: NVRTC compiles them for a device, and
// the tests compile them with the machine's C compiler against src/emulator/device.h, which runs a block's
// threads one after the other between barriers.
//
// The arithmetic is IEEE 754 with one rounding per operation, spelled out: nothing may be contracted, and the
// order of every sum is that of crates/tensor. A change here is wrong unless the emulated bits still agree.

#ifdef OPENLEDGER_EMULATED
#include "device.h"
#else
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
#define DEVICE static __device__ __forceinline__
// Aligned, since vectors of sixteen bytes are read from it.
#define SHARED __shared__ __align__(16)
#define BARRIER() __syncthreads()
#define THREAD threadIdx.x
#define BLOCK_X blockIdx.x
#define BLOCK_Y blockIdx.y
#define BLOCK_Z blockIdx.z
#define PRAGMA(words) _Pragma(#words)
#define UNROLL PRAGMA(unroll)
#define UNROLL_BY(n) PRAGMA(unroll n)
// One argument by value: the struct that Rust filled in.
#define KERNEL(name, arguments, threads) \
    extern "C" __global__ void __launch_bounds__(threads) name(const arguments a)
#endif

#define ADD(a, b) __fadd_rn(a, b)
#define SUB(a, b) __fsub_rn(a, b)
#define MUL(a, b) __fmul_rn(a, b)
#define DIV(a, b) __fdiv_rn(a, b)
#define FMA(a, b, c) __fmaf_rn(a, b, c)
#define ROOT(a) __fsqrt_rn(a)

// Sixteen partial results, as crates/tensor has them.
#define LANES 16

DEVICE float widen(u16 x) { return __uint_as_float((u32)x << 16); }

// f32 to bf16, nearest, ties to even; NaN stays NaN.
DEVICE u16 to_bf16(float x) {
    u32 bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (u16)((bits >> 16) | 0x40u);
    return (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

DEVICE u32 smaller(u32 a, u32 b) { return a < b ? a : b; }
