#include "matmul_unpack.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { TOGETHER = 2 };

/// Two registers of eight rows: what one group of codes, or the results of a panel, take.
typedef struct {
    __m256i part[2];
} pair;

/// Adds the dot of four columns (`codes`, repeated) with each of eight rows. VPMADDUBSW saturates at 16 bits, so wide
/// codes go in as sign and magnitude: 2 * 128 * 127 fits.
TARGET_AVX2 INLINE __m256i dot_four(__m256i sums, __m256i weights, __m256i codes, bool centered) {
    __m256i pairs;
    if (centered) {
        const __m256i values = _mm256_xor_si256(weights, _mm256_set1_epi8((char)0x80));
        pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(values), _mm256_sign_epi8(codes, values));
    } else {
        pairs = _mm256_maddubs_epi16(weights, codes);
    }
    return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

TARGET_AVX2 INLINE void accumulate(
    int type, const unpacked_block *block, const int8_t *codes, const block_info *info, __m256 *sums) {
    const format_kind kind = kind_of(type);
    const int halves = kind == KIND_HALVES ? 2 : 1;
    const __m256 scale = _mm256_set1_ps(info->scale);
    for (int half = 0; half < halves; half++) {
        pair dots = {{_mm256_setzero_si256(), _mm256_setzero_si256()}};
        for (int g = half * 4; g < (halves == 1 ? GROUPS : half * 4 + 4); g++) {
            int32_t four;
            memcpy(&four, codes + 4 * g, sizeof four);
            for (int p = 0; p < 2; p++) {
                const __m256i weights = _mm256_load_si256((const __m256i *)(block->codes[g] + 32 * p));
                dots.part[p] = dot_four(dots.part[p], weights, _mm256_set1_epi32(four), kind != KIND_MINIMUM);
            }
        }
        for (int p = 0; p < 2; p++) {
            const __m256 product = _mm256_mul_ps(_mm256_load_ps(block->scale[half] + 8 * p), scale);
            sums[p] = _mm256_fmadd_ps(product, _mm256_cvtepi32_ps(dots.part[p]), sums[p]);
        }
    }
    if (kind == KIND_MINIMUM)
        for (int p = 0; p < 2; p++)
            sums[p] = _mm256_fmadd_ps(_mm256_load_ps(block->minimum + 8 * p), _mm256_set1_ps(info->sum), sums[p]);
}

TARGET_AVX2 INLINE void multiply_panel(int type, const matmul_job *job, int64_t panel) {
    const uint8_t *weights = job->packed + (size_t)panel * panel_size(type, job->cols);
    const size_t stride = record_size(job->cols);
    const int lanes = panel_lanes(job, panel);
    for (int64_t first = 0; first < job->n; first += TOGETHER) {
        const int count = job->n - first < TOGETHER ? (int)(job->n - first) : TOGETHER;
        __m256 sums[TOGETHER][2];
        for (int t = 0; t < TOGETHER; t++) sums[t][0] = sums[t][1] = _mm256_setzero_ps();
        for (int64_t index = 0; index < job->cols / BLOCK; index++) {
            _Alignas(64) unpacked_block block;
            unpack_block(type, weights, index, &block);
            for (int t = 0; t < count; t++) {
                const uint8_t *record = job->records + (size_t)(first + t) * stride;
                const int8_t *codes = (const int8_t *)record + index * BLOCK;
                accumulate(type, &block, codes, record_infos(record, job->cols) + index, sums[t]);
            }
        }
        for (int t = 0; t < count; t++) {
            float *out = job->out + (first + t) * job->out_stride + panel * PANEL;
            float lanes_of[PANEL];
            _mm256_storeu_ps(lanes_of, sums[t][0]);
            _mm256_storeu_ps(lanes_of + 8, sums[t][1]);
            memcpy(out, lanes_of, (size_t)lanes * sizeof(float));
        }
    }
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
