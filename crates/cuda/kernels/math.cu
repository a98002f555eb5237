// The elementary functions of crates/tensor/src/math.rs, soft_cap.rs, swiglu.rs and geglu.rs, operation by
// operation. Constants are the shortest decimals of the same floats.

#define EXP_MAX 88.0f
#define EXP_MIN (-87.0f)
#define LN2_HIGH 0.6933594f
#define LN2_LOW (-2.1219444e-4f)

DEVICE float exact_exp(float x) {
    float above = EXP_MAX < x ? EXP_MAX : x;
    float inside = EXP_MIN > above ? EXP_MIN : above;
    float n = rintf(MUL(inside, 1.44269504f));
    float r = FMA(n, -LN2_LOW, FMA(n, -LN2_HIGH, inside));
    float p = 1.0f / 5040.0f;
    p = FMA(p, r, 1.0f / 720.0f);
    p = FMA(p, r, 1.0f / 120.0f);
    p = FMA(p, r, 1.0f / 24.0f);
    p = FMA(p, r, 1.0f / 6.0f);
    p = FMA(p, r, 0.5f);
    p = FMA(MUL(p, r), r, ADD(r, 1.0f));
    float y = MUL(p, __uint_as_float((u32)((int)n + 127) << 23));
    return x < EXP_MIN ? 0.0f : y;
}

// Of a positive, finite, normal number; NaN for everything else.
DEVICE float exact_ln(float x) {
    u32 bits = __float_as_uint(x);
    if (bits < 0x00800000u || bits >= 0x7f800000u) return __uint_as_float(0x7fc00000u);
    int shifted = (int)(bits - 0x3f3504f3u) >> 23;
    float m = __uint_as_float(bits - ((u32)shifted << 23));
    float e = (float)shifted;
    float s = DIV(SUB(m, 1.0f), ADD(m, 1.0f));
    float z = MUL(s, s);
    float p = FMA(2.0f / 9.0f, z, 2.0f / 7.0f);
    p = FMA(p, z, 2.0f / 5.0f);
    p = FMA(p, z, 2.0f / 3.0f);
    float tail = FMA(e, LN2_LOW, MUL(MUL(p, z), s));
    return FMA(e, LN2_HIGH, FMA(s, 2.0f, tail));
}

DEVICE float exact_rsqrt(float x) { return DIV(1.0f, ROOT(x)); }

DEVICE float exact_tanh(float x) {
    float negative = SUB(0.0f, x);
    float size = x > negative ? x : negative;
    float z = MUL(size, size);
    float q = -6.096714e-3f;
    q = FMA(q, z, 2.099718e-2f);
    q = FMA(q, z, -5.3850908e-2f);
    q = FMA(q, z, 1.333277e-1f);
    q = FMA(q, z, -3.3333328e-1f);
    float small = FMA(MUL(size, z), q, size);
    float e = exact_exp(ADD(size, size));
    float large = SUB(1.0f, DIV(2.0f, ADD(e, 1.0f)));
    float y = size < 0.625f ? small : large;
    return x < 0.0f ? SUB(0.0f, y) : y;
}

DEVICE float capped(float x, float cap) { return MUL(cap, exact_tanh(DIV(x, cap))); }

DEVICE float sigmoid(float x) { return DIV(1.0f, ADD(1.0f, exact_exp(SUB(0.0f, x)))); }

DEVICE float silu(float x) { return MUL(x, sigmoid(x)); }

DEVICE float gelu(float x) {
    float cubic = FMA(MUL(0.044715f, MUL(x, x)), x, x);
    return MUL(x, sigmoid(MUL(1.595769f, cubic)));
}

// Sixteen partial sums folded onto each other: 8, 4, 2, 1.
DEVICE float sum_of_lanes(const float *l) {
    float b[4];
    UNROLL for (u32 i = 0; i < 4; i++) b[i] = ADD(ADD(l[i], l[i + 8]), ADD(l[i + 4], l[i + 12]));
    return ADD(ADD(b[0], b[2]), ADD(b[1], b[3]));
}
