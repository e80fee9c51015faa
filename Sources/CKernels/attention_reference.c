#include "attention.h"

#include <math.h>

// Contraction would make the bits depend on the compiler: where a sum is fused it says so.
#pragma STDC FP_CONTRACT OFF
// Vectors are passed between inlined functions only, so their calling convention does not matter.
#pragma clang diagnostic ignored "-Wpsabi"

typedef float dv_f32x16 __attribute__((vector_size(64)));
typedef int32_t dv_i32x16 __attribute__((vector_size(64)));
typedef _Float16 dv_f16x16 __attribute__((vector_size(32)));
#define DV_SPLAT(x) ((dv_f32x16){} + (x))
#define dv_fma(a, b, c) __builtin_elementwise_fma(a, b, c)

#if defined(__x86_64__)
#define DV_NAME(name) dv_v4_##name
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c"))),              \
                             apply_to = function)
#include "attention_reference_body.h"
#pragma clang attribute pop
#undef DV_NAME
#define DV_NAME(name) dv_v3_##name
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#include "attention_reference_body.h"
#pragma clang attribute pop
#undef DV_NAME
#endif
#define DV_NAME(name) dv_any_##name
#include "attention_reference_body.h"
#undef DV_NAME

size_t dv_attention_scratch_floats(int heads, int keyHeads, int headSize, int positions) {
    const size_t group = (size_t)(heads / keyHeads), n = (size_t)headSize;
    const size_t padded = ((size_t)positions + 63) / 64 * 64;
    // Rounded up so that workers do not share cache lines.
    return (group * n + 64 * n + group * padded + 31) / 16 * 16;
}

void dv_attention_reference(const dv_attention *call, int worker, int workers) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("f16c")) {
        dv_v4_attention(call, worker, workers);
        return;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
        dv_v3_attention(call, worker, workers);
        return;
    }
#endif
    dv_any_attention(call, worker, workers);
}
