#pragma once

#include "support.h"

enum { BLOCK = 32 };

/// What a kernel needs of a block of 32 codes beside the codes.
typedef struct {
    /// The value of one step of a code.
    float scale;
    /// The unrounded scale times the sum of the codes, rounded to half precision: what a weight format's minimum
    /// multiplies.
    float sum;
    /// -128 times the sum of all 32 codes: makes up for weights stored as code + 128.
    int32_t bias;
    /// The same for the first 16.
    int32_t bias_low;
} block_info;

/// A record is `cols` codes (int8_t), then `cols / 32` infos, padded to an odd number of cache lines so that the
/// records of consecutive rows fall into different cache sets.
INLINE size_t record_size(int64_t cols) {
    const size_t bytes = (size_t)cols + (size_t)(cols / BLOCK) * sizeof(block_info);
    return ((bytes + 63) / 64 | 1) * 64;
}

INLINE const block_info *record_infos(const uint8_t *record, int64_t cols) {
    return (const block_info *)(record + cols);
}
