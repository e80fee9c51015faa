// crc32c by carry-less multiplication (Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
// Instruction", 2009), 256 bytes at a time: as fast as the first cache gives bytes.

#include <string.h>

#include "internal.h"

#ifdef HAS_FOLDING
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512vl,vpclmulqdq,pclmul,sse4.2")))

enum { STEP = 64, STRIDE = 4 * STEP };

bool cchecksum_can_fold(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("pclmul");
}

/// Moves each 128-bit part past as many bits as `factors` stand for, and adds what is there.
TARGET static inline __m512i fold(__m512i state, __m512i factors, __m512i next) {
    const __m512i low = _mm512_clmulepi64_epi128(state, factors, 0x00);
    const __m512i high = _mm512_clmulepi64_epi128(state, factors, 0x11);
    return _mm512_ternarylogic_epi64(low, high, next, 0x96);
}

TARGET static inline __m512i everywhere(const uint64_t factors[2]) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)factors));
}

TARGET uint32_t cchecksum_fold(uint32_t state, const unsigned char *from, size_t count) {
    const struct tables *tables = cchecksum_tables();
    const __m512i far = everywhere(tables->fold_stride), near = everywhere(tables->fold_step);
    __m512i part[4];
    for (int index = 0; index < 4; index++) part[index] = _mm512_loadu_si512(from + index * STEP);
    part[0] = _mm512_xor_si512(part[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)state)));
    size_t at = STRIDE;
    for (; count - at >= STRIDE; at += STRIDE)
        for (int index = 0; index < 4; index++)
            part[index] = fold(part[index], far, _mm512_loadu_si512(from + at + index * STEP));
    __m512i sum = part[0];
    for (int index = 1; index < 4; index++) sum = fold(sum, near, part[index]);
    for (; count - at >= STEP; at += STEP) sum = fold(sum, near, _mm512_loadu_si512(from + at));
    // The first three parts are moved to the place of the last one.
    const __m512i lanes = _mm512_loadu_si512(tables->fold_lanes);
    const __m512i moved = _mm512_xor_si512(_mm512_clmulepi64_epi128(sum, lanes, 0x00),
                                           _mm512_clmulepi64_epi128(sum, lanes, 0x11));
    const __m128i last = _mm_xor_si128(
        _mm_xor_si128(_mm512_extracti32x4_epi32(moved, 0), _mm512_extracti32x4_epi32(moved, 1)),
        _mm_xor_si128(_mm512_extracti32x4_epi32(moved, 2), _mm512_extracti32x4_epi32(sum, 3)));
    uint64_t wide = _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(last));
    wide = _mm_crc32_u64(wide, (uint64_t)_mm_extract_epi64(last, 1));
    for (; count - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, from + at, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    uint32_t narrow = (uint32_t)wide;
    for (; at < count; at++) narrow = _mm_crc32_u8(narrow, from[at]);
    return narrow;
}

#endif
