#pragma once

#include <stdbool.h>

#include "include/CChecksum.h"

#if defined(__x86_64__)
#define HAS_FOLDING
#endif

enum {
    // Three streams of this many bytes are computed side by side, to hide the latency of the crc instruction. The long
    // ones amortize the joining, the short ones take what is left.
    LONG_LANE = 4096,
    SHORT_LANE = 256,
    // Folding takes no fewer bytes.
    FOLD_MIN = 256,
};

/// Tables for what follows a checksum: `step[k]` is what a byte contributes that has k bytes behind it; `past_long` and
/// `past_short` move a checksum past that many zero bytes. `fold_*` are pairs of factors that move the lower and the
/// upper half of 16 bytes: past 256 bytes, past 64, and each of four to the end of the 64 that they make.
struct tables {
    uint32_t step[8][256];
    uint32_t past_long[4][256];
    uint32_t past_short[4][256];
    uint64_t fold_stride[2];
    uint64_t fold_step[2];
    uint64_t fold_lanes[8];
};

const struct tables *cchecksum_tables(void);

/// The inverted running checksum (as the instructions keep it) moved past the zero bytes that `table` stands for.
static inline uint32_t move_past(const uint32_t table[4][256], uint32_t state) {
    return table[0][state & 0xFF] ^ table[1][state >> 8 & 0xFF] ^ table[2][state >> 16 & 0xFF] ^ table[3][state >> 24];
}

#ifdef HAS_FOLDING
/// Whether this processor has the instructions for the next one.
bool cchecksum_can_fold(void);
/// The inverted running checksum after `count` more bytes, at least `FOLD_MIN`.
uint32_t cchecksum_fold(uint32_t state, const unsigned char *from, size_t count);
#endif
