#include "activation_record.h"
#include "include/CKernelsMatmul.h"
#include "include/CKernelsActivations.h"

// Each step is written once, with vectors of fixed width, and compiled per instruction set. Additions have a written
// order and multiplications are fused only where it says so; therefore all builds give the same bits.

// Vectors are passed between inlined functions only, so their calling convention does not matter.
#pragma clang diagnostic ignored "-Wpsabi"

enum { LANES = 16 };

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef int8_t bytes __attribute__((vector_size(LANES)));
typedef double doubles __attribute__((vector_size(8 * LANES)));

INLINE floats load(const float *at) {
    floats values;
    memcpy(&values, at, sizeof values);
    return values;
}

INLINE floats splat(float value) { return (floats){} + value; }

INLINE floats fused(floats a, floats b, floats c) { return __builtin_elementwise_fma(a, b, c); }

/// `yes` in the lanes where `mask` is -1, `no` where it is 0.
INLINE floats choose(ints mask, floats yes, floats no) {
    return (floats)(((ints)yes & mask) | ((ints)no & ~mask));
}

/// Rounded to half precision (to nearest, ties to even) where that can hold it, else as it is.
INLINE floats half_or_single(floats values) {
    const words sign = (words)values & 0x80000000u;
    const floats magnitudes = (floats)((words)values ^ sign);
    // Adding and taking away 1.5 times a power of two leaves as many bits as half precision has at the value's
    // exponent, but not below the spacing of its subnormals, 2^-24.
    const words smallest = (words){} + ((127u - 14u) << 23);
    const words exponents = __builtin_elementwise_max((words)magnitudes & 0x7F800000u, smallest);
    const floats magic = (floats)(exponents + (13u << 23)) * 1.5f;
    const floats rounded = (magnitudes + magic) - magic;
    // 65520 and more would become infinite; a NaN compares false and stays.
    const ints fits = magnitudes < 65520.0f;
    return choose(fits, (floats)((words)rounded | sign), values);
}

/// Blocks are quantised 16 at a time, so that what is done once per block is done in vectors too.
enum { GROUP = LANES, GROUP_VALUES = GROUP * BLOCK };

/// A number for each block of a group.
typedef union {
    floats values;
    words bits;
    ints integers;
    float value[GROUP];
    uint32_t bit[GROUP];
    int32_t integer[GROUP];
} per_block;

/// The codes of block `block` of a group, given the inverses of the scales, and their sums.
INLINE void encode_block(
    const float *x, float inverse, uint8_t *codes, int block, per_block *sum, per_block *sum_low) {
    // Adding 1.5 * 2^23 rounds to the nearest integer, ties to even, and leaves it in the low bits.
    const ints low = (ints)((words)(load(x) * inverse + 0x1.8p23f) - bits_of(0x1.8p23f));
    const ints high = (ints)((words)(load(x + LANES) * inverse + 0x1.8p23f) - bits_of(0x1.8p23f));
    const bytes packed[2] = {__builtin_convertvector(low, bytes), __builtin_convertvector(high, bytes)};
    memcpy(codes, packed, sizeof packed);
    sum->integer[block] = __builtin_reduce_add(low + high);
    sum_low->integer[block] = __builtin_reduce_add(low);
}

/// Quantises at most 16 blocks. One below 2^-40 counts as zero: its scale would round to zero in half precision, and
/// its inverse could overflow.
INLINE void quantize_group(const float *x, int blocks, uint8_t *codes, block_info *infos) {
    per_block amax = {}, inverse, scale, sum = {}, sum_low = {}, scaled_sum;
    for (int block = 0; block < blocks; block++) {
        const words low = (words)load(x + block * BLOCK) & 0x7FFFFFFFu;
        const words high = (words)load(x + block * BLOCK + LANES) & 0x7FFFFFFFu;
        amax.bit[block] = __builtin_reduce_max(__builtin_elementwise_max(low, high));
    }
    const ints finite = amax.bits < 0x7F800000u, usable = finite & (amax.values >= 0x1p-40f);
    inverse.values = choose(usable, 127.0f / amax.values, splat(0.0f));
    scale.values = choose(usable, amax.values / 127.0f, choose(finite, splat(0.0f), splat(__builtin_nanf(""))));
    for (int block = 0; block < blocks; block++)
        encode_block(x + block * BLOCK, inverse.value[block], codes + block * BLOCK, block, &sum, &sum_low);
    // What a block that is not finite gave is nothing of use.
    sum.integers &= finite;
    sum_low.integers &= finite;
    scaled_sum.values = half_or_single(scale.values * __builtin_convertvector(sum.integers, floats));
    scale.values = half_or_single(scale.values);
    for (int block = 0; block < blocks; block++)
        infos[block] = (block_info){
            .scale = scale.value[block],
            .sum = scaled_sum.value[block],
            .bias = -128 * sum.integer[block],
            .bias_low = -128 * sum_low.integer[block],
        };
}

INLINE void clear_padding(int64_t cols, uint8_t *record) {
    const size_t used = (size_t)cols + (size_t)(cols / BLOCK) * sizeof(block_info);
    memset(record + used, 0, record_size(cols) - used);
}

INLINE int blocks_from(int64_t at, int64_t cols) {
    return cols - at < GROUP_VALUES ? (int)((cols - at) / BLOCK) : GROUP;
}

INLINE void quantize_row(const float *x, int64_t cols, uint8_t *record) {
    block_info *infos = (block_info *)(record + cols);
    for (int64_t at = 0; at < cols; at += GROUP_VALUES)
        quantize_group(x + at, blocks_from(at, cols), record + at, infos + at / BLOCK);
    clear_padding(cols, record);
}

/// 1 / sqrt(mean(x^2) + epsilon), the squares added in double precision in 16 lanes.
INLINE float inverse_rms(const float *x, int64_t cols, float epsilon) {
    doubles sums = {};
    for (int64_t at = 0; at < cols; at += LANES) {
        const floats values = load(x + at);
        sums += __builtin_convertvector(values * values, doubles);
    }
    double lanes[LANES];
    memcpy(lanes, &sums, sizeof lanes);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
    const float mean = (float)(lanes[0] / (double)cols);
    return 1.0f / __builtin_sqrtf(mean + epsilon);
}

INLINE void normalize_row(const float *x, const float *weight, float epsilon, int64_t cols, uint8_t *record) {
    const float factor = inverse_rms(x, cols, epsilon);
    block_info *infos = (block_info *)(record + cols);
    for (int64_t at = 0; at < cols; at += GROUP_VALUES) {
        const int blocks = blocks_from(at, cols);
        float group[GROUP_VALUES];
        for (int i = 0; i < blocks * BLOCK; i += LANES) {
            floats values = load(x + at + i) * factor;
            if (weight) values *= load(weight + at + i);
            memcpy(group + i, &values, sizeof values);
        }
        quantize_group(group, blocks, record + at, infos + at / BLOCK);
    }
    clear_padding(cols, record);
}

/// exp(x) within 2 units in the last place for x in -87...88, clamped outside; the same operations on every machine.
INLINE floats exponential(floats x) {
    x = choose(x < -87.0f, splat(-87.0f), x);
    x = choose(x > 88.0f, splat(88.0f), x);
    // x = k ln 2 + r with |r| <= ln 2 / 2, ln 2 in two parts; then the Taylor polynomial of degree 7 of exp(r), times
    // 2^k.
    const floats shifted = fused(x, splat(0x1.715476p0f), splat(0x1.8p23f));
    const floats k = shifted - 0x1.8p23f;
    const floats r = fused(k, splat(-0x1.7f7d1cp-20f), fused(k, splat(-0x1.62e4p-1f), x));
    floats series = splat(1.0f / 5040.0f);
    series = fused(series, r, splat(1.0f / 720.0f));
    series = fused(series, r, splat(1.0f / 120.0f));
    series = fused(series, r, splat(1.0f / 24.0f));
    series = fused(series, r, splat(1.0f / 6.0f));
    series = fused(series, r, splat(0.5f));
    series = fused(series, r, splat(1.0f));
    series = fused(series, r, splat(1.0f));
    return series * (floats)(((words)shifted - bits_of(0x1.8p23f) + 127u) << 23);
}

INLINE void swiglu_row(const float *gate, const float *up, int64_t cols, uint8_t *record) {
    block_info *infos = (block_info *)(record + cols);
    for (int64_t at = 0; at < cols; at += GROUP_VALUES) {
        const int blocks = blocks_from(at, cols);
        float group[GROUP_VALUES];
        for (int i = 0; i < blocks * BLOCK; i += LANES) {
            const floats g = load(gate + at + i);
            const floats values = g / (exponential(-g) + 1.0f) * load(up + at + i);
            memcpy(group + i, &values, sizeof values);
        }
        quantize_group(group, blocks, record + at, infos + at / BLOCK);
    }
    clear_padding(cols, record);
}

INLINE void add_row(const float *x, const float *y, float *sum, int64_t cols) {
    for (int64_t at = 0; at < cols; at += LANES) {
        const floats values = load(x + at) + load(y + at);
        memcpy(sum + at, &values, sizeof values);
    }
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
