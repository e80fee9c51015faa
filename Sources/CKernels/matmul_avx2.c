#include "matmul_format.h"

#if defined(__x86_64__)
#include <immintrin.h>

/// Eight rows of a panel are one register here, so a panel has two parts.
enum { LANES = 8, PARTS = PANEL / LANES, PART_BYTES = GROUP_BYTES / PARTS };

/// Far enough ahead to cover the latency of memory, near enough to stay in the first-level cache.
enum { PREFETCH_BYTES = 2048 };

/// Codes as they are stored, without the shift that centers them: small ones let products be added up in 16 bits.
/// `VPMADDUBSW` adds two of at most 2 * code * 128, so this many groups fit below 2^15.
INLINE int groups_in_16_bits(int type) {
    return type == TYPE_Q8_0 ? 1 : type == TYPE_Q6_K ? 2 : high_size(type) > 0 ? 4 : 8;
}

/// What centers the codes of the numeric definition (see KIND_CENTERED): they are the stored ones times 2^shift.
INLINE int shift_of(int type) {
    return type == TYPE_Q4_0 ? 4 : type == TYPE_Q5_0 ? 3 : type == TYPE_Q6_K ? 2 : 0;
}

TARGET_AVX2 INLINE __m256i load(const uint8_t *at) { return _mm256_loadu_si256((const __m256i *)at); }

TARGET_AVX2 INLINE __m256 load_halves(const uint8_t *at) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)at));
}

TARGET_AVX2 INLINE __m256 load_signed_bytes(const uint8_t *at) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)at)));
}

/// The scales of one part of a block. `scale[1]` is used by KIND_HALVES, `minimum` by KIND_MINIMUM.
typedef struct {
    __m256 scale[2];
    __m256 minimum;
} part_scales;

TARGET_AVX2 INLINE part_scales load_scales(int type, const uint8_t *super, const uint8_t *header, int part) {
    // A panel's scales are halves or bytes, one for each row.
    const size_t half = (size_t)part * LANES * 2, byte = (size_t)part * LANES;
    part_scales scales;
    if (type == TYPE_Q6_K) {
        const __m256 scale = _mm256_mul_ps(load_halves(super + half), _mm256_set1_ps(0.25f));
        scales.scale[0] = _mm256_mul_ps(scale, load_signed_bytes(header + byte));
        scales.scale[1] = _mm256_mul_ps(scale, load_signed_bytes(header + PANEL + byte));
    } else if (is_super(type)) {
        // Their bytes are at most 63, so reading them as signed is right.
        scales.scale[0] = _mm256_mul_ps(load_halves(super + half), load_signed_bytes(header + byte));
        const __m256 minimum =
            _mm256_mul_ps(load_halves(super + 2 * PANEL + half), load_signed_bytes(header + PANEL + byte));
        scales.minimum = _mm256_xor_ps(minimum, _mm256_set1_ps(-0.0f));
    } else {
        scales.scale[0] = load_halves(header + half);
        if (type == TYPE_Q4_0) scales.scale[0] = _mm256_mul_ps(scales.scale[0], _mm256_set1_ps(0x1p-4f));
        if (type == TYPE_Q5_0) scales.scale[0] = _mm256_mul_ps(scales.scale[0], _mm256_set1_ps(0x1p-3f));
        if (kind_of(type) == KIND_MINIMUM) scales.minimum = load_halves(header + 2 * PANEL + half);
    }
    return scales;
}

/// The stored codes of group `g`; of Q8_0, which has signed ones, the codes themselves.
TARGET_AVX2 INLINE __m256i load_codes(int type, const uint8_t *quants, int g, int part) {
    const uint8_t *at = quants + (size_t)part * PART_BYTES;
    if (type == TYPE_Q8_0) return load(at + g * GROUP_BYTES);
    const __m256i low_bits = _mm256_set1_epi8(15);
    __m256i codes = load(at + g % 4 * GROUP_BYTES);
    codes = _mm256_and_si256(g < 4 ? codes : _mm256_srli_epi16(codes, 4), low_bits);
    if (high_size(type) == 0) return codes;
    const bool two_bits = type == TYPE_Q6_K;
    const __m256i high = load(at + BLOCK_CODES / 2 + (two_bits ? g / 4 * GROUP_BYTES : 0));
    const int from = two_bits ? g % 4 * 2 : g;
    const __m256i moved = from > 4 ? _mm256_srli_epi16(high, from - 4) : _mm256_slli_epi16(high, 4 - from);
    return _mm256_or_si256(codes, _mm256_and_si256(moved, _mm256_set1_epi8(two_bits ? 3 << 4 : 1 << 4)));
}

/// Products of four columns (`codes`, repeated) with each of eight rows, added two by two in 16 bits.
TARGET_AVX2 INLINE __m256i multiply_group(int type, __m256i weights, __m256i codes) {
    if (type == TYPE_Q8_0) return _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(codes, weights));
    return _mm256_maddubs_epi16(weights, codes);
}

TARGET_AVX2 INLINE __m256i widen(__m256i pairs) { return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)); }

/// The dots of `count` records with the stored codes of groups `first ..< end` of one part of a block.
TARGET_AVX2 INLINE void dot(
    int type, int count, const uint8_t *quants, int part, int first, int end, const int8_t *codes, size_t stride,
    __m256i *dots) {
    const int run = groups_in_16_bits(type);
    UNROLL for (int start = first; start < end; start += run) {
        __m256i pairs[4];
        UNROLL for (int g = start; g < end && g < start + run; g++) {
            const __m256i weights = load_codes(type, quants, g, part);
            UNROLL for (int t = 0; t < count; t++) {
                int32_t four;
                memcpy(&four, codes + (size_t)t * stride + 4 * g, sizeof four);
                const __m256i product = multiply_group(type, weights, _mm256_set1_epi32(four));
                pairs[t] = g == start ? product : _mm256_add_epi16(pairs[t], product);
            }
        }
        UNROLL for (int t = 0; t < count; t++)
            dots[t] = start == first ? widen(pairs[t]) : _mm256_add_epi32(dots[t], widen(pairs[t]));
    }
}

/// Adds scale * dot, with the dot that of the numeric definition: of centered codes.
TARGET_AVX2 INLINE __m256 add_scaled(int type, __m256 sums, __m256 product, __m256i dots, int32_t bias) {
    if (type != TYPE_Q8_0 && kind_of(type) != KIND_MINIMUM)
        dots = _mm256_add_epi32(_mm256_slli_epi32(dots, shift_of(type)), _mm256_set1_epi32(bias));
    return _mm256_fmadd_ps(product, _mm256_cvtepi32_ps(dots), sums);
}

/// One part of a block times `count` records.
TARGET_AVX2 INLINE void accumulate(
    int type, int count, const uint8_t *super, const uint8_t *header, int part, const int8_t *codes,
    const block_info *infos, size_t stride, __m256 *sums) {
    const uint8_t *quants = header + block_header_size(type);
    const part_scales scales = load_scales(type, super, header, part);
    const bool halves = kind_of(type) == KIND_HALVES;
    __m256i dots[2][4];
    dot(type, count, quants, part, 0, halves ? 4 : GROUPS, codes, stride, dots[0]);
    if (halves) dot(type, count, quants, part, 4, GROUPS, codes, stride, dots[1]);
    UNROLL for (int t = 0; t < count; t++) {
        const block_info *info = (const block_info *)((const uint8_t *)infos + (size_t)t * stride);
        const __m256 scale = _mm256_set1_ps(info->scale);
        const __m256 product = _mm256_mul_ps(scales.scale[0], scale);
        sums[t] = add_scaled(type, sums[t], product, dots[0][t], halves ? info->bias_low : info->bias);
        if (halves) {
            const __m256 second = _mm256_mul_ps(scales.scale[1], scale);
            sums[t] = add_scaled(type, sums[t], second, dots[1][t], info->bias - info->bias_low);
        }
        if (kind_of(type) == KIND_MINIMUM)
            sums[t] = _mm256_fmadd_ps(scales.minimum, _mm256_set1_ps(info->sum), sums[t]);
    }
}

/// `count` records (a constant after inlining) from `first` on times one panel. A lane is a row of the result, so
/// nothing is added across lanes.
TARGET_AVX2 INLINE void multiply(int type, int count, const matmul_job *job, int64_t panel, int64_t first) {
    const size_t stride = record_size(job->cols);
    const uint8_t *records = job->records + (size_t)first * stride;
    const int8_t *codes = (const int8_t *)records;
    const block_info *infos = record_infos(records, job->cols);
    const uint8_t *at = job->packed + (size_t)panel * panel_size(type, job->cols), *super = NULL;
    __m256 sums[PARTS][4];
    UNROLL for (int part = 0; part < PARTS; part++)
        UNROLL for (int t = 0; t < count; t++) sums[part][t] = _mm256_setzero_ps();
    for (int64_t index = 0; index < job->cols / BLOCK; index++) {
        if (is_super(type) && index % 8 == 0) {
            super = at;
            at += super_header_size(type);
        }
        UNROLL for (size_t line = 0; line < block_size(type); line += 64)
            _mm_prefetch((const char *)at + PREFETCH_BYTES + line, _MM_HINT_T0);
        UNROLL for (int part = 0; part < PARTS; part++) {
            accumulate(type, count, super, at, part, codes, infos, stride, sums[part]);
            // Repeated codes cost nothing to load again, but much to keep: the compiler must not know them again.
            __asm__("" : "+r"(codes), "+r"(infos));
        }
        at += block_size(type);
        codes += BLOCK;
        infos++;
    }
    const int lanes = panel_lanes(job, panel);
    UNROLL for (int t = 0; t < count; t++) {
        float row[PANEL];
        UNROLL for (int part = 0; part < PARTS; part++) _mm256_storeu_ps(row + part * LANES, sums[part][t]);
        memcpy(job->out + (first + t) * job->out_stride + panel * PANEL, row, (size_t)lanes * sizeof(float));
    }
}

/// All records times one panel, which stays in cache between runs of records.
TARGET_AVX2 INLINE void multiply_panel(int type, const matmul_job *job, int64_t panel) {
    int64_t first = 0;
    for (; first + 4 <= job->n; first += 4) multiply(type, 4, job, panel, first);
    if (job->n & 2) multiply(type, 2, job, panel, first);
    first += job->n & 2;
    if (job->n & 1) multiply(type, 1, job, panel, first);
}

#define DEFINE(TYPE)                                                                                                   \
    TARGET_AVX2 static void multiply_##TYPE(const matmul_job *job) {                                                   \
        for (int64_t panel = job->first_panel; panel < job->end_panel; panel++)                                        \
            multiply_panel(TYPE_##TYPE, job, panel);                                                                   \
    }
FOR_EACH_TYPE(DEFINE)

void dejavu_matmul_avx2(const matmul_job *job) {
    switch (job->type) {
#define CASE(TYPE)                                                                                                     \
    case TYPE_##TYPE: multiply_##TYPE(job); return;
        FOR_EACH_TYPE(CASE)
        default: abort();
    }
}
#endif
