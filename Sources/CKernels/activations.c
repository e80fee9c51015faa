#include "activation_record.h"
#include "include/CKernelsMatmul.h"
#include "include/CKernelsActivations.h"

// Each step is written once, as plain loops of fixed width that compilers vectorise, and compiled per instruction
// set. Additions have a written order and multiplications are fused only where it says so; therefore all builds give
// the same bits.

enum { LANES = 16 };

/// Below this a block counts as zero: its scale would round to zero in half precision, and its inverse could overflow.
static const float amax_min = 0x1p-40f;

INLINE void quantize_block(const float *x, int8_t *codes, block_info *info) {
    uint32_t amax_bits = 0;
    for (int i = 0; i < BLOCK; i++) {
        const uint32_t magnitude = bits_of(x[i]) & 0x7FFFFFFFu;
        amax_bits = magnitude > amax_bits ? magnitude : amax_bits;
    }
    const float amax = float_of(amax_bits);
    const int usable = amax >= amax_min && amax_bits < 0x7F800000u;
    const float inverse = usable ? 127.0f / amax : 0.0f;
    int32_t sums[2] = {0, 0};
    for (int half = 0; half < 2; half++) {
        for (int i = half * LANES; i < (half + 1) * LANES; i++) {
            // Adding 1.5 * 2^23 rounds to the nearest integer, ties to even, and leaves it in the low bits.
            const float value = usable ? x[i] * inverse : 0.0f;
            const int32_t code = (int32_t)(bits_of(value + 0x1.8p23f) - bits_of(0x1.8p23f));
            codes[i] = (int8_t)code;
            sums[half] += code;
        }
    }
    const float scale = usable ? amax / 127.0f : amax_bits < 0x7F800000u ? 0.0f : __builtin_nanf("");
    const float sum = scale * (float)(sums[0] + sums[1]);
    const float half_scale = round_to_half(scale);
    const float half_sum = round_to_half(__builtin_fabsf(sum));
    info->scale = half_scale <= 65504.0f ? half_scale : scale;
    info->sum = half_sum <= 65504.0f ? __builtin_copysignf(half_sum, sum) : sum;
    info->bias = -128 * (sums[0] + sums[1]);
    info->bias_low = -128 * sums[0];
}

INLINE void quantize_row(const float *x, int64_t cols, uint8_t *record) {
    block_info *infos = (block_info *)(record + cols);
    for (int64_t block = 0; block < cols / BLOCK; block++)
        quantize_block(x + block * BLOCK, (int8_t *)record + block * BLOCK, infos + block);
    const size_t used = (size_t)cols + (size_t)(cols / BLOCK) * sizeof(block_info);
    memset(record + used, 0, record_size(cols) - used);
}

/// 1 / sqrt(mean(x^2) + epsilon), the squares added in double precision in 16 lanes.
INLINE float inverse_rms(const float *x, int64_t cols, float epsilon) {
    double lanes[LANES] = {0};
    for (int64_t start = 0; start < cols; start += LANES)
        for (int i = 0; i < LANES; i++) lanes[i] += (double)(x[start + i] * x[start + i]);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
    const float mean = (float)(lanes[0] / (double)cols);
    return 1.0f / __builtin_sqrtf(mean + epsilon);
}

INLINE void normalize_row(
    const float *x, const float *weight, float epsilon, int64_t cols, uint8_t *record) {
    const float factor = inverse_rms(x, cols, epsilon);
    block_info *infos = (block_info *)(record + cols);
    for (int64_t start = 0; start < cols; start += BLOCK) {
        float values[BLOCK];
        for (int i = 0; i < BLOCK; i++) {
            const float scaled = x[start + i] * factor;
            values[i] = weight ? scaled * weight[start + i] : scaled;
        }
        quantize_block(values, (int8_t *)record + start, infos + start / BLOCK);
    }
    const size_t used = (size_t)cols + (size_t)(cols / BLOCK) * sizeof(block_info);
    memset(record + used, 0, record_size(cols) - used);
}

/// exp(x) within 2 units in the last place for x in -87...88, clamped outside; the same operations on every machine.
INLINE float exponential(float x) {
    const float clamped = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    // x = k ln 2 + r with |r| <= ln 2 / 2, ln 2 in two parts; then the Taylor polynomial of degree 7 of exp(r), times
    // 2^k.
    const float shifted = __builtin_fmaf(clamped, 0x1.715476p0f, 0x1.8p23f);
    const float k = shifted - 0x1.8p23f;
    const float r = __builtin_fmaf(k, -0x1.7f7d1cp-20f, __builtin_fmaf(k, -0x1.62e4p-1f, clamped));
    float series = 1.0f / 5040.0f;
    series = __builtin_fmaf(series, r, 1.0f / 720.0f);
    series = __builtin_fmaf(series, r, 1.0f / 120.0f);
    series = __builtin_fmaf(series, r, 1.0f / 24.0f);
    series = __builtin_fmaf(series, r, 1.0f / 6.0f);
    series = __builtin_fmaf(series, r, 0.5f);
    series = __builtin_fmaf(series, r, 1.0f);
    series = __builtin_fmaf(series, r, 1.0f);
    return series * float_of((bits_of(shifted) - bits_of(0x1.8p23f) + 127u) << 23);
}

INLINE void swiglu_row(const float *gate, const float *up, int64_t cols, uint8_t *record) {
    block_info *infos = (block_info *)(record + cols);
    for (int64_t start = 0; start < cols; start += BLOCK) {
        float values[BLOCK];
        for (int i = 0; i < BLOCK; i++) {
            const float g = gate[start + i];
            values[i] = g / (1.0f + exponential(-g)) * up[start + i];
        }
        quantize_block(values, (int8_t *)record + start, infos + start / BLOCK);
    }
    const size_t used = (size_t)cols + (size_t)(cols / BLOCK) * sizeof(block_info);
    memset(record + used, 0, record_size(cols) - used);
}

INLINE void add_row(const float *x, const float *y, float *sum, int64_t cols) {
    for (int64_t i = 0; i < cols; i++) sum[i] = x[i] + y[i];
}

/// The functions of one row, compiled for one instruction set.
typedef struct {
    void (*quantize)(const float *, int64_t, uint8_t *);
    void (*normalize)(const float *, const float *, float, int64_t, uint8_t *);
    void (*swiglu)(const float *, const float *, int64_t, uint8_t *);
    void (*add)(const float *, const float *, float *, int64_t);
} row_functions;

#define DEFINE_ROW_FUNCTIONS(NAME, TARGET)                                                                             \
    TARGET static void quantize_row_##NAME(const float *x, int64_t cols, uint8_t *record) {                            \
        quantize_row(x, cols, record);                                                                                 \
    }                                                                                                                  \
    TARGET static void normalize_row_##NAME(                                                                           \
        const float *x, const float *weight, float epsilon, int64_t cols, uint8_t *record) {                           \
        normalize_row(x, weight, epsilon, cols, record);                                                               \
    }                                                                                                                  \
    TARGET static void swiglu_row_##NAME(const float *gate, const float *up, int64_t cols, uint8_t *record) {          \
        swiglu_row(gate, up, cols, record);                                                                            \
    }                                                                                                                  \
    TARGET static void add_row_##NAME(const float *x, const float *y, float *sum, int64_t cols) {                      \
        add_row(x, y, sum, cols);                                                                                      \
    }                                                                                                                  \
    static const row_functions row_functions_##NAME = {                                                                \
        quantize_row_##NAME, normalize_row_##NAME, swiglu_row_##NAME, add_row_##NAME};

DEFINE_ROW_FUNCTIONS(portable, )
#if defined(__x86_64__)
DEFINE_ROW_FUNCTIONS(avx2, TARGET_AVX2)
DEFINE_ROW_FUNCTIONS(avx512, TARGET_VNNI)
#endif

static const row_functions *current(void) {
#if defined(__x86_64__)
    const int variant = dejavu_variant();
    if (variant >= DEJAVU_VARIANT_VNNI) return &row_functions_avx512;
    if (variant == DEJAVU_VARIANT_AVX2) return &row_functions_avx2;
#endif
    return &row_functions_portable;
}

INLINE const float *row_at(const float *base, size_t stride, int64_t row) {
    return (const float *)((const char *)base + (size_t)row * stride);
}

static void check(int64_t rows, int64_t cols, const void *records, int ith, int nth) {
    REQUIRE(rows >= 0 && cols > 0 && cols % BLOCK == 0);
    REQUIRE((uintptr_t)records % 64 == 0);
    REQUIRE(nth > 0 && ith >= 0 && ith < nth);
}

size_t dejavu_activation_row_size(int64_t cols) {
    REQUIRE(cols > 0 && cols % BLOCK == 0);
    return record_size(cols);
}

void dejavu_quantize_rows(
    const float *x, size_t x_stride, int64_t rows, int64_t cols, void *records, int ith, int nth) {
    check(rows, cols, records, ith, nth);
    const row_functions *functions = current();
    const int64_t end = share_start(rows, ith + 1, nth);
    for (int64_t row = share_start(rows, ith, nth); row < end; row++)
        functions->quantize(row_at(x, x_stride, row), cols, (uint8_t *)records + (size_t)row * record_size(cols));
}

void dejavu_rms_norm_quantize_rows(
    const float *x, size_t x_stride, const float *weight, float epsilon, int64_t rows, int64_t cols, void *records,
    int ith, int nth) {
    check(rows, cols, records, ith, nth);
    const row_functions *functions = current();
    const int64_t end = share_start(rows, ith + 1, nth);
    for (int64_t row = share_start(rows, ith, nth); row < end; row++) {
        uint8_t *record = (uint8_t *)records + (size_t)row * record_size(cols);
        functions->normalize(row_at(x, x_stride, row), weight, epsilon, cols, record);
    }
}

void dejavu_add_rms_norm_quantize_rows(
    const float *x, size_t x_stride, const float *y, size_t y_stride, float *sum, size_t sum_stride,
    const float *weight, float epsilon, int64_t rows, int64_t cols, void *records, int ith, int nth) {
    check(rows, cols, records, ith, nth);
    const row_functions *functions = current();
    const int64_t end = share_start(rows, ith + 1, nth);
    for (int64_t row = share_start(rows, ith, nth); row < end; row++) {
        float *total = (float *)((char *)sum + (size_t)row * sum_stride);
        uint8_t *record = (uint8_t *)records + (size_t)row * record_size(cols);
        functions->add(row_at(x, x_stride, row), row_at(y, y_stride, row), total, cols);
        functions->normalize(total, weight, epsilon, cols, record);
    }
}

void dejavu_swiglu_quantize_rows(
    const float *gate, size_t gate_stride, const float *up, size_t up_stride, int64_t rows, int64_t cols,
    void *records, int ith, int nth) {
    check(rows, cols, records, ith, nth);
    const row_functions *functions = current();
    const int64_t end = share_start(rows, ith + 1, nth);
    for (int64_t row = share_start(rows, ith, nth); row < end; row++) {
        uint8_t *record = (uint8_t *)records + (size_t)row * record_size(cols);
        functions->swiglu(row_at(gate, gate_stride, row), row_at(up, up_stride, row), cols, record);
    }
}
