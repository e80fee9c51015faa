#include "matmul_format.h"

/// As many records as stay in the second-level cache while the weights stream past: at least 64, a multiple of 64.
static int64_t records_together(int64_t cols) {
    const int64_t cache_bytes = 640 << 10;
    const int64_t fit = cache_bytes / (int64_t)record_size(cols);
    return fit < 64 ? 64 : fit / 64 * 64;
}

static void multiply(const matmul_job *job) {
    switch (dejavu_variant()) {
#if defined(__x86_64__)
        case DEJAVU_VARIANT_AMX: dejavu_matmul_amx(job); return;
        case DEJAVU_VARIANT_VNNI: dejavu_matmul_vnni(job); return;
        case DEJAVU_VARIANT_AVX2: dejavu_matmul_avx2(job); return;
#endif
        default: dejavu_matmul_portable(job); return;
    }
}

void dejavu_matmul(
    int32_t type, int64_t rows, int64_t cols, const void *packed, const void *activations, int64_t n, float *out,
    size_t out_stride, int ith, int nth) {
    REQUIRE(dejavu_can_pack(type, rows, cols));
    REQUIRE((uintptr_t)packed % 64 == 0 && (uintptr_t)activations % 64 == 0 && out_stride % sizeof(float) == 0);
    REQUIRE(n >= 0 && nth > 0 && ith >= 0 && ith < nth);
    const int64_t panels = (rows + PANEL - 1) / PANEL;
    matmul_job job = {
        .type = type,
        .rows = rows,
        .cols = cols,
        .packed = packed,
        .out_stride = (int64_t)(out_stride / sizeof(float)),
        .first_panel = share_start(panels, ith, nth),
        .end_panel = share_start(panels, ith + 1, nth),
    };
    if (job.first_panel == job.end_panel) return;
    const int64_t together = records_together(cols);
    for (int64_t first = 0; first < n; first += together) {
        job.records = (const uint8_t *)activations + (size_t)first * record_size(cols);
        job.out = out + first * job.out_stride;
        job.n = n - first < together ? n - first : together;
        multiply(&job);
    }
}
