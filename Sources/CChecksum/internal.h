#pragma once

#include "include/CChecksum.h"

enum {
    // Three streams of this many bytes are computed side by side, to hide the latency of the crc instruction. The long
    // ones amortize the joining, the short ones take what is left.
    LONG_LANE = 4096,
    SHORT_LANE = 256,
};

/// Tables for what follows a checksum: `step[k]` is what a byte contributes that has k bytes behind it; `past_long` and
/// `past_short` move a checksum past that many zero bytes.
struct tables {
    uint32_t step[8][256];
    uint32_t past_long[4][256];
    uint32_t past_short[4][256];
};

const struct tables *cchecksum_tables(void);

/// The inverted running checksum (as the instructions keep it) moved past the zero bytes that `table` stands for.
static inline uint32_t move_past(const uint32_t table[4][256], uint32_t state) {
    return table[0][state & 0xFF] ^ table[1][state >> 8 & 0xFF] ^ table[2][state >> 16 & 0xFF] ^ table[3][state >> 24];
}
