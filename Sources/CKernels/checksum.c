#include "include/CKernelsChecksum.h"

#include "support.h"

enum { LANES = 8 };

static const uint64_t multiplier = 0x9E3779B97F4A7C15u;  // 2^64 divided by the golden ratio, odd

INLINE uint64_t mix(uint64_t state, uint64_t word) {
    state = (state ^ word) * multiplier;
    return state ^ state >> 29;
}

INLINE uint64_t load(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

uint64_t dejavu_checksum(const void *bytes, size_t count) {
    const uint8_t *at = bytes;
    // Lanes that do not wait for each other keep the multiplier busy.
    uint64_t lane[LANES];
    for (int i = 0; i < LANES; i++) lane[i] = (uint64_t)i + 1;
    size_t left = count;
    for (; left >= 8 * LANES; left -= 8 * LANES, at += 8 * LANES) {
        UNROLL for (int i = 0; i < LANES; i++) lane[i] = mix(lane[i], load(at + 8 * i));
    }
    uint64_t state = mix(0, count);
    for (; left >= 8; left -= 8, at += 8) state = mix(state, load(at));
    if (left > 0) {
        uint8_t last[8] = {0};
        memcpy(last, at, left);
        state = mix(state, load(last));
    }
    for (int i = 0; i < LANES; i++) state = mix(state, lane[i]);
    return state;
}
