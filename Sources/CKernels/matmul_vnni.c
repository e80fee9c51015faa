#include "matmul_avx512.h"

#if defined(__x86_64__)

/// Far enough ahead to cover the latency of memory, near enough to stay in the first-level cache.
enum { PREFETCH_BYTES = 4096 };

TARGET_VNNI INLINE __m512i dot(const __m512i *groups, int count, const int8_t *codes, __m512i sums) {
    UNROLL for (int g = 0; g < count; g++) {
        int32_t four;
        memcpy(&four, codes + 4 * g, sizeof four);
        sums = _mm512_dpbusd_epi32(sums, groups[g], _mm512_set1_epi32(four));
    }
    return sums;
}

TARGET_VNNI INLINE __m512 accumulate(
    int type, const wide_block *block, const int8_t *codes, const block_info *info, __m512 sums) {
    const __m512 scale = _mm512_set1_ps(info->scale);
    if (kind_of(type) == KIND_HALVES) {
        const __m512i low = dot(block->codes, 4, codes, _mm512_set1_epi32(info->bias_low));
        const __m512i start = _mm512_set1_epi32(info->bias - info->bias_low);
        const __m512i high = dot(block->codes + 4, 4, codes + 16, start);
        sums = _mm512_fmadd_ps(_mm512_mul_ps(block->scale[0], scale), _mm512_cvtepi32_ps(low), sums);
        return _mm512_fmadd_ps(_mm512_mul_ps(block->scale[1], scale), _mm512_cvtepi32_ps(high), sums);
    }
    const bool minimum = kind_of(type) == KIND_MINIMUM;
    const __m512i start = minimum ? _mm512_setzero_si512() : _mm512_set1_epi32(info->bias);
    const __m512i dots = dot(block->codes, GROUPS, codes, start);
    sums = _mm512_fmadd_ps(_mm512_mul_ps(block->scale[0], scale), _mm512_cvtepi32_ps(dots), sums);
    return minimum ? _mm512_fmadd_ps(block->minimum, _mm512_set1_ps(info->sum), sums) : sums;
}

/// `count` records (a constant after inlining) from `first` on times one panel. A lane is a row of the result, so
/// nothing is added across lanes.
TARGET_VNNI INLINE void multiply(int type, int count, const matmul_job *job, int64_t panel, int64_t first) {
    const size_t stride = record_size(job->cols);
    record_cursor cursor = cursor_at(job->records + (size_t)first * stride, stride, job->cols, 0, count);
    const uint8_t *at = job->packed + (size_t)panel * panel_size(type, job->cols), *super = NULL;
    __m512 sums[16];
    UNROLL for (int t = 0; t < count; t++) sums[t] = _mm512_setzero_ps();
    for (int64_t index = 0; index < job->cols / BLOCK; index++) {
        if (is_super(type) && index % 8 == 0) {
            super = at;
            at += super_header_size(type);
        }
        UNROLL for (size_t line = 0; line < block_size(type); line += 64)
            _mm_prefetch((const char *)at + PREFETCH_BYTES + line, _MM_HINT_T0);
        wide_block block;
        load_block(type, super, at, &block);
        at += block_size(type);
        UNROLL for (int t = 0; t < count; t++)
            sums[t] = accumulate(type, &block, cursor_codes(&cursor, t), cursor_info(&cursor, t), sums[t]);
        cursor_advance(&cursor, count);
    }
    float *out = job->out + first * job->out_stride + panel * PANEL;
    const __mmask16 mask = lane_mask(panel_lanes(job, panel));
    UNROLL for (int t = 0; t < count; t++) _mm512_mask_storeu_ps(out + t * job->out_stride, mask, sums[t]);
}

/// All records times one panel, which stays in cache between runs of records.
TARGET_VNNI INLINE void multiply_panel(int type, const matmul_job *job, int64_t panel) {
    int64_t first = 0;
    for (; first + 8 <= job->n; first += 8) multiply(type, 8, job, panel, first);
    if (job->n & 4) multiply(type, 4, job, panel, first);
    first += job->n & 4;
    if (job->n & 2) multiply(type, 2, job, panel, first);
    first += job->n & 2;
    if (job->n & 1) multiply(type, 1, job, panel, first);
}

#define DEFINE(TYPE)                                                                                                   \
    TARGET_VNNI static void multiply_##TYPE(const matmul_job *job) {                                                   \
        for (int64_t panel = job->first_panel; panel < job->end_panel; panel++)                                        \
            multiply_panel(TYPE_##TYPE, job, panel);                                                                   \
    }
FOR_EACH_TYPE(DEFINE)

void dejavu_matmul_vnni(const matmul_job *job) {
    switch (job->type) {
#define CASE(TYPE)                                                                                                     \
    case TYPE_##TYPE: multiply_##TYPE(job); return;
        FOR_EACH_TYPE(CASE)
        default: abort();
    }
}
#endif
