#pragma once

#include "activation_record.h"
#include "include/CKernelsMatmul.h"

// The packed layout. Rows are taken 16 at a time (a panel; missing rows of the last one are zero), columns 32 at a
// time (a block). A panel is its blocks in order, each with everything it needs, so that a product reads one
// ascending stream. Code group g of a block is columns 4g..<4g+4 of the 16 rows: byte 4 * row + column % 4. That is
// the operand of VPDPBUSD for 16 rows, and eight groups are a tile of AMX.
//
//   Q4_0  scale half[16]                      low[4][64]
//   Q4_1  scale half[16], minimum half[16]    low[4][64]
//   Q5_0  as Q4_0, then high[64]
//   Q5_1  as Q4_1, then high[64]
//   Q8_0  scale half[16]                      codes[8][64]
//   K formats: a header per 256 columns (scale half[16]; Q4_K and Q5_K also minimum half[16]), then eight blocks:
//   Q4_K  scale u8[16], minimum u8[16]        low[4][64]
//   Q5_K  as Q4_K, then high[64]
//   Q6_K  scale i8[2][16] (columns 0..<16, 16..<32)   low[4][64]   high[2][64]
//
// low[j]: group j in the low halves of the bytes, group j + 4 in the high ones. high: of Q5, bit g of a byte belongs
// to group g; of Q6_K, high[h] has the upper two bits of group 4h + k at bits 2k.

enum {
    PANEL = 16,
    GROUPS = 8,
    SUPER = 256,
    GROUP_BYTES = 64,
    BLOCK_CODES = GROUPS * GROUP_BYTES,
};

enum {
    TYPE_Q4_0 = 2,
    TYPE_Q4_1 = 3,
    TYPE_Q5_0 = 6,
    TYPE_Q5_1 = 7,
    TYPE_Q8_0 = 8,
    TYPE_Q4_K = 12,
    TYPE_Q5_K = 13,
    TYPE_Q6_K = 14,
};

/// Calls M(type name) for every format.
#define FOR_EACH_TYPE(M) M(Q4_0) M(Q4_1) M(Q5_0) M(Q5_1) M(Q8_0) M(Q4_K) M(Q5_K) M(Q6_K)

/// How the codes of a format enter the integer dot.
typedef enum {
    /// Codes of 0...31 with a scale and a minimum.
    KIND_MINIMUM,
    /// Codes with their zero point at 128 (smaller ones are multiplied up to it and the scale divided: exact, powers
    /// of two).
    KIND_CENTERED,
    /// Centered, with a scale for each half of the block.
    KIND_HALVES,
} format_kind;

INLINE format_kind kind_of(int type) {
    if (type == TYPE_Q6_K) return KIND_HALVES;
    return type == TYPE_Q4_0 || type == TYPE_Q5_0 || type == TYPE_Q8_0 ? KIND_CENTERED : KIND_MINIMUM;
}

/// The format's blocks come in groups of 256 columns with a header.
INLINE bool is_super(int type) { return type == TYPE_Q4_K || type == TYPE_Q5_K || type == TYPE_Q6_K; }

/// The bytes of the scales at the start of a block.
INLINE size_t block_header_size(int type) {
    return type == TYPE_Q4_0 || type == TYPE_Q5_0 || type == TYPE_Q8_0 || is_super(type) ? 32 : 64;
}

INLINE bool has_low(int type) { return type != TYPE_Q8_0; }

INLINE size_t high_size(int type) {
    if (type == TYPE_Q6_K) return 128;
    return type == TYPE_Q5_0 || type == TYPE_Q5_1 || type == TYPE_Q5_K ? 64 : 0;
}

INLINE size_t block_size(int type) {
    return block_header_size(type) + (has_low(type) ? BLOCK_CODES / 2 : BLOCK_CODES) + high_size(type);
}

INLINE size_t super_header_size(int type) { return !is_super(type) ? 0 : type == TYPE_Q6_K ? 32 : 64; }

/// Where block `block` of a panel starts.
INLINE size_t block_offset(int type, int64_t block) {
    const size_t headers = is_super(type) ? (size_t)(block / 8 + 1) : 0;
    return headers * super_header_size(type) + (size_t)block * block_size(type);
}

/// Where the header that block `block` stands under starts; only for K formats.
INLINE size_t super_offset(int type, int64_t block) {
    return (size_t)(block / 8) * (super_header_size(type) + 8 * block_size(type));
}

INLINE size_t panel_size(int type, int64_t cols) {
    const size_t headers = is_super(type) ? (size_t)(cols / SUPER) : 0;
    return headers * super_header_size(type) + (size_t)(cols / BLOCK) * block_size(type);
}

/// What the kernels of a variant get: panels `first_panel ..< end_panel` times `n` records.
typedef struct {
    int type;
    int64_t rows, cols;
    const uint8_t *packed;
    const uint8_t *records;
    int64_t n;
    float *out;
    /// In floats.
    int64_t out_stride;
    int64_t first_panel, end_panel;
} matmul_job;

/// The rows of a panel that exist.
INLINE int panel_lanes(const matmul_job *job, int64_t panel) {
    const int64_t left = job->rows - panel * PANEL;
    return left < PANEL ? (int)left : PANEL;
}

void dejavu_matmul_portable(const matmul_job *job);
void dejavu_matmul_avx2(const matmul_job *job);
void dejavu_matmul_vnni(const matmul_job *job);
void dejavu_matmul_amx(const matmul_job *job);
