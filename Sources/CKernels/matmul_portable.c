#include "matmul_unpack.h"

// The numeric definition written out; what a CPU without AVX2 runs.

INLINE void dot(const uint8_t *groups, const int8_t *codes, int count, int32_t *sums) {
    for (int g = 0; g < count; g++)
        for (int lane = 0; lane < PANEL; lane++)
            for (int i = 0; i < 4; i++) sums[lane] += groups[g * GROUP_BYTES + 4 * lane + i] * codes[4 * g + i];
}

INLINE void accumulate(
    int type, const unpacked_block *block, const int8_t *codes, const block_info *info, float *sums) {
    const format_kind kind = kind_of(type);
    const int halves = kind == KIND_HALVES ? 2 : 1;
    for (int half = 0; half < halves; half++) {
        const int32_t low = halves == 1 ? info->bias : half == 0 ? info->bias_low : info->bias - info->bias_low;
        const int32_t start = kind == KIND_MINIMUM ? 0 : low;
        int32_t dots[PANEL];
        for (int lane = 0; lane < PANEL; lane++) dots[lane] = start;
        dot(block->codes[half * 4], codes + half * 16, GROUPS / halves, dots);
        for (int lane = 0; lane < PANEL; lane++)
            sums[lane] = __builtin_fmaf(block->scale[half][lane] * info->scale, (float)dots[lane], sums[lane]);
    }
    if (kind == KIND_MINIMUM)
        for (int lane = 0; lane < PANEL; lane++)
            sums[lane] = __builtin_fmaf(block->minimum[lane], info->sum, sums[lane]);
}

/// One panel times one record after the other; a block is unpacked once for up to eight of them.
static void multiply_panel(const matmul_job *job, int64_t panel) {
    enum { TOGETHER = 8 };
    const uint8_t *weights = job->packed + (size_t)panel * panel_size(job->type, job->cols);
    const size_t stride = record_size(job->cols);
    for (int64_t first = 0; first < job->n; first += TOGETHER) {
        const int count = job->n - first < TOGETHER ? (int)(job->n - first) : TOGETHER;
        float sums[TOGETHER][PANEL] = {{0}};
        for (int64_t index = 0; index < job->cols / BLOCK; index++) {
            unpacked_block block;
            unpack_block(job->type, weights, index, &block);
            for (int t = 0; t < count; t++) {
                const uint8_t *record = job->records + (size_t)(first + t) * stride;
                const int8_t *codes = (const int8_t *)record + index * BLOCK;
                accumulate(job->type, &block, codes, record_infos(record, job->cols) + index, sums[t]);
            }
        }
        for (int t = 0; t < count; t++)
            for (int lane = 0; lane < panel_lanes(job, panel); lane++)
                job->out[(first + t) * job->out_stride + panel * PANEL + lane] = sums[t][lane];
    }
}

void dejavu_matmul_portable(const matmul_job *job) {
    for (int64_t panel = job->first_panel; panel < job->end_panel; panel++) multiply_panel(job, panel);
}
