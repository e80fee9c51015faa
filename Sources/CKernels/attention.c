#include "attention.h"

#include <math.h>
#include <stdbool.h>

// Contraction would make the bits depend on the compiler: where a sum is fused it says so.
#pragma STDC FP_CONTRACT OFF
// Vectors are passed between inlined functions only, so their calling convention does not matter.
#pragma clang diagnostic ignored "-Wpsabi"

typedef float dv_f32x16 __attribute__((vector_size(64)));
typedef int32_t dv_i32x16 __attribute__((vector_size(64)));
typedef _Float16 dv_f16x16 __attribute__((vector_size(32)));
#define DV_SPLAT(x) ((dv_f32x16){} + (x))
#define dv_fma(a, b, c) __builtin_elementwise_fma(a, b, c)

// Positions that are weighed together, counted from the sequence's first, and queries of a tile: the rows' groups.
enum { DV_BLOCK = 64 };
#define DV_TILE_ROWS(group) ((group) >= 32 ? 1 : 32 / (group))
#define DV_QUERIES(group) (DV_TILE_ROWS(group) * (group))

#if defined(__x86_64__)
#define DV_NAME(name) dv_v4_##name
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c"))),              \
                             apply_to = function)
#include "attention_lanes_body.h"
#include "attention_reference_body.h"
#include "attention_native_body.h"
#pragma clang attribute pop
#undef DV_NAME
#define DV_NAME(name) dv_v3_##name
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#include "attention_lanes_body.h"
#include "attention_reference_body.h"
#include "attention_native_body.h"
#pragma clang attribute pop
#undef DV_NAME
#endif
#define DV_NAME(name) dv_any_##name
#include "attention_lanes_body.h"
#include "attention_reference_body.h"
#include "attention_native_body.h"
#undef DV_NAME

size_t dv_attention_scratch_floats(int heads, int keyHeads, int headSize, int positions) {
    const size_t group = (size_t)(heads / keyHeads), n = (size_t)headSize;
    const size_t padded = ((size_t)positions + 63) / 64 * 64;
    const size_t reference = group * n + 64 * n + group * padded;
    const size_t native = DV_QUERIES(group) * (2 * n + DV_BLOCK + 2);
    // Rounded up so that workers do not share cache lines.
    return ((reference > native ? reference : native) + 31) / 16 * 16;
}

#if defined(__x86_64__)
static bool has_v4(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("f16c");
}

static bool has_v3(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
#define DV_DISPATCH(name)                                                                                              \
    if (has_v4()) {                                                                                                    \
        dv_v4_##name(call, worker, workers);                                                                           \
    } else if (has_v3()) {                                                                                             \
        dv_v3_##name(call, worker, workers);                                                                           \
    } else {                                                                                                           \
        dv_any_##name(call, worker, workers);                                                                          \
    }
#else
#define DV_DISPATCH(name) dv_any_##name(call, worker, workers);
#endif

void dv_attention_reference(const dv_attention *call, int worker, int workers) { DV_DISPATCH(attention) }

void dv_attention_native(const dv_attention *call, int worker, int workers) { DV_DISPATCH(native) }
