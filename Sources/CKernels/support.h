#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Which multiplications and additions are fused is part of the numeric definition, so it is always written out.
#pragma STDC FP_CONTRACT OFF

#define INLINE static inline __attribute__((always_inline))

/// Before a loop of constant length whose arrays must become registers.
#define UNROLL _Pragma("clang loop unroll(full)")

#if defined(__x86_64__)
#define TARGET_AVX2 __attribute__((target("avx2,fma,f16c,bmi,bmi2")))
#define TARGET_VNNI __attribute__((target("avx2,fma,f16c,bmi,bmi2,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#define TARGET_AMX                                                                                                     \
    __attribute__((target("avx2,fma,f16c,bmi,bmi2,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,amx-tile,amx-int8")))
#endif

/// Ends the process: a caller broke the contract of a kernel.
#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (__builtin_expect(!(condition), 0)) {                                                                       \
            fprintf(stderr, "%s:%d: requirement failed: %s\n", __FILE_NAME__, __LINE__, #condition);                   \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

INLINE uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

INLINE float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/// The half-precision number whose bits these are: exact, in integer arithmetic that no instruction set treats
/// differently.
INLINE float half_to_float(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    const uint32_t magnitude = half & 0x7FFF;
    // A subnormal is its integer times 2^-24; the others get the exponent's bias moved from 15 to 127.
    const uint32_t subnormal = bits_of((float)magnitude * 0x1p-24f);
    const uint32_t normal = (magnitude << 13) + ((127u - 15u) << 23);
    const uint32_t special = (magnitude << 13) | 0x7F800000u;
    const uint32_t bits = magnitude < 0x0400 ? subnormal : magnitude < 0x7C00 ? normal : special;
    return float_of(sign | bits);
}

/// The first row (or panel) of thread `ith`'s share when `count` are divided among `nth`.
INLINE int64_t share_start(int64_t count, int ith, int nth) { return count * ith / nth; }
