// Included once per instruction set, with DV_NAME naming the functions. Sixteen lanes, fixed order of every sum.

static inline __attribute__((always_inline)) float DV_NAME(sum16)(dv_f32x16 x) {
    typedef float f32x8 __attribute__((vector_size(32)));
    typedef float f32x4 __attribute__((vector_size(16)));
    const f32x8 a = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7) +
                    __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
    const f32x4 b = __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
    return (b[0] + b[2]) + (b[1] + b[3]);
}

static inline __attribute__((always_inline)) dv_f32x16 DV_NAME(load)(const uint16_t *p) {
    dv_f16x16 half;
    __builtin_memcpy(&half, p, sizeof half);
    return __builtin_convertvector(half, dv_f32x16);
}

// A vector exponential, accurate to about 1.5 units in the last place: 2^n * polynomial of the remainder. The
// polynomial is that of Arm's optimized routines, as ggml uses it, so that both give the same bits.
static inline __attribute__((always_inline)) dv_f32x16 DV_NAME(exp16)(dv_f32x16 x) {
    const dv_f32x16 shift = DV_SPLAT(0x1.8p23f);
    const dv_f32x16 z = dv_fma(x, DV_SPLAT(0x1.715476p+0f), shift);
    const dv_f32x16 n = z - shift;
    const dv_f32x16 b = dv_fma(-n, DV_SPLAT(0x1.7f7d1cp-20f), dv_fma(-n, DV_SPLAT(0x1.62e4p-1f), x));
    const dv_f32x16 u = b * b;
    const dv_f32x16 high = dv_fma(dv_fma(DV_SPLAT(0x1.0e4020p-7f), b, DV_SPLAT(0x1.573e2ep-5f)), u,
                                  dv_fma(DV_SPLAT(0x1.555e66p-3f), b, DV_SPLAT(0x1.fffdb6p-2f)));
    const dv_f32x16 j = dv_fma(high, u, dv_fma(DV_SPLAT(0x1.ffffecp-1f), b, DV_SPLAT(1.0f)));
    // Scores are at most 0 after the maximum is taken off. Below -126 the result is taken as 0: far under what F16
    // can hold.
    const dv_i32x16 exponent = __builtin_convertvector(n, dv_i32x16);
    const dv_i32x16 small = n < DV_SPLAT(-126.0f);
    const dv_i32x16 bits = (exponent + 127) << 23;
    const dv_f32x16 result = j * (dv_f32x16)bits;
    return (dv_f32x16)((dv_i32x16)result & ~small);
}
