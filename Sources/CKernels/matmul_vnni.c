#include "matmul_avx512.h"

#if defined(__x86_64__)

/// Far enough ahead to cover the latency of memory, near enough to stay in the first-level cache.
enum { PREFETCH_BYTES = 4096 };

/// A run of records times one panel. With one thread per 16 rows a lane is an output row, so nothing is added across
/// lanes.
typedef struct {
    const uint8_t *records;
    size_t record_stride;
    int64_t cols;
    float *out;
    int64_t out_stride;
    __mmask16 mask;
} panel_run;

TARGET_VNNI INLINE __m512i dot(const __m512i *groups, int count, const int8_t *codes, __m512i sums) {
    for (int g = 0; g < count; g++) {
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

/// `count` records (a constant after inlining) times one panel.
TARGET_VNNI INLINE void multiply(int type, int count, const panel_run *run, const uint8_t *panel, int64_t first) {
    const uint8_t *record = run->records + (size_t)first * run->record_stride;
    const uint8_t *at = panel, *super = NULL;
    __m512 sums[8];
    for (int t = 0; t < count; t++) sums[t] = _mm512_setzero_ps();
    for (int64_t index = 0; index < run->cols / BLOCK; index++) {
        if (is_super(type) && index % 8 == 0) {
            super = at;
            at += super_header_size(type);
        }
        for (size_t line = 0; line < block_size(type); line += 64)
            _mm_prefetch((const char *)at + PREFETCH_BYTES + line, _MM_HINT_T0);
        wide_block block;
        load_block(type, super, at, &block);
        at += block_size(type);
        for (int t = 0; t < count; t++) {
            const uint8_t *own = record + (size_t)t * run->record_stride;
            const block_info *info = record_infos(own, run->cols) + index;
            sums[t] = accumulate(type, &block, (const int8_t *)own + index * BLOCK, info, sums[t]);
        }
    }
    for (int t = 0; t < count; t++)
        _mm512_mask_storeu_ps(run->out + (first + t) * run->out_stride, run->mask, sums[t]);
}

/// The records from `first` on times one panel, eight at a time; the panel stays in cache between them.
TARGET_VNNI INLINE void multiply_panel(int type, const matmul_job *job, int64_t panel) {
    const panel_run run = {
        .records = job->records,
        .record_stride = record_size(job->cols),
        .cols = job->cols,
        .out = job->out + panel * PANEL,
        .out_stride = job->out_stride,
        .mask = lane_mask(panel_lanes(job, panel)),
    };
    const uint8_t *weights = job->packed + (size_t)panel * panel_size(type, job->cols);
    int64_t first = 0;
    for (; first + 8 <= job->n; first += 8) multiply(type, 8, &run, weights, first);
    if (job->n & 4) multiply(type, 4, &run, weights, first);
    first += job->n & 4;
    if (job->n & 2) multiply(type, 2, &run, weights, first);
    first += job->n & 2;
    if (job->n & 1) multiply(type, 1, &run, weights, first);
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
