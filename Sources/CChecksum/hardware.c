#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "internal.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#define HARDWARE CCHECKSUM_SSE42
#define TARGET __attribute__((target("sse4.2")))
#define CRC_BYTE(state, value) _mm_crc32_u8((uint32_t)(state), (value))
#define CRC_WORD(state, value) _mm_crc32_u64((state), (value))
static bool is_there(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2");
}
#elif defined(__aarch64__) && defined(__linux__)
#include <arm_acle.h>
#include <sys/auxv.h>
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
#define HARDWARE CCHECKSUM_ARMV8
#define TARGET __attribute__((target("crc")))
#define CRC_BYTE(state, value) __crc32cb((uint32_t)(state), (value))
#define CRC_WORD(state, value) __crc32cd((uint32_t)(state), (value))
static bool is_there(void) { return getauxval(AT_HWCAP) & HWCAP_CRC32; }
#endif

#ifdef HARDWARE

static inline uint64_t word(const unsigned char *at) {
    uint64_t value;
    memcpy(&value, at, 8);
    return value;
}

/// Takes as many times three lanes as there are.
TARGET static inline uint32_t lanes(uint32_t state, const unsigned char **start, size_t *count, size_t lane,
                                    const uint32_t past[4][256]) {
    const unsigned char *at = *start;
    size_t left = *count;
    for (; left >= 3 * lane; left -= 3 * lane, at += 3 * lane) {
        uint64_t first = state, second = 0, third = 0;
        for (size_t offset = 0; offset < lane; offset += 8) {
            first = CRC_WORD(first, word(at + offset));
            second = CRC_WORD(second, word(at + lane + offset));
            third = CRC_WORD(third, word(at + 2 * lane + offset));
        }
        state = move_past(past, (uint32_t)first) ^ (uint32_t)second;
        state = move_past(past, state) ^ (uint32_t)third;
    }
    *start = at;
    *count = left;
    return state;
}

TARGET static uint32_t update_hardware(uint32_t crc, const void *bytes, size_t count) {
    const struct tables *tables = cchecksum_tables();
    const unsigned char *at = bytes;
    uint32_t state = ~crc;
    for (; count && (uintptr_t)at & 7; count--, at++) state = CRC_BYTE(state, *at);
    state = lanes(state, &at, &count, LONG_LANE, tables->past_long);
    state = lanes(state, &at, &count, SHORT_LANE, tables->past_short);
    uint64_t wide = state;
    for (; count >= 8; count -= 8, at += 8) wide = CRC_WORD(wide, word(at));
    state = (uint32_t)wide;
    for (; count; count--, at++) state = CRC_BYTE(state, *at);
    return ~state;
}

#endif

static int find_variant(void) {
#ifdef HAS_FOLDING
    if (is_there() && cchecksum_can_fold()) return CCHECKSUM_AVX512;
#endif
#ifdef HARDWARE
    if (is_there()) return HARDWARE;
#endif
    return CCHECKSUM_PORTABLE;
}

int cchecksum_variant(void) {
    // Every thread that asks first finds the same answer, so a race is harmless.
    static atomic_int known = -1;
    int variant = atomic_load_explicit(&known, memory_order_relaxed);
    if (variant < 0) {
        variant = find_variant();
        atomic_store_explicit(&known, variant, memory_order_relaxed);
    }
    return variant;
}

uint32_t cchecksum_update_lanes(uint32_t crc, const void *bytes, size_t count) {
#ifdef HARDWARE
    if (cchecksum_variant() != CCHECKSUM_PORTABLE) return update_hardware(crc, bytes, count);
#endif
    return cchecksum_update_portable(crc, bytes, count);
}

uint32_t cchecksum_update(uint32_t crc, const void *bytes, size_t count) {
#ifdef HAS_FOLDING
    if (count >= FOLD_MIN && cchecksum_variant() == CCHECKSUM_AVX512) return ~cchecksum_fold(~crc, bytes, count);
#endif
    return cchecksum_update_lanes(crc, bytes, count);
}

uint32_t cchecksum_copy(uint32_t crc, void *target, const void *source, size_t count) {
    // A block that was just copied is still in the first cache. (To store while computing is slower: the copy of the C
    // library does not read what it overwrites.)
    const size_t block = 32 << 10;
    unsigned char *to = target;
    const unsigned char *from = source;
    while (count) {
        const size_t part = count < block ? count : block;
        memcpy(to, from, part);
        crc = cchecksum_update(crc, to, part);
        to += part;
        from += part;
        count -= part;
    }
    return crc;
}
