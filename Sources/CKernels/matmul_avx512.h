#pragma once

#include "matmul_format.h"

#if defined(__x86_64__)
#include <immintrin.h>

/// The unpacked block of matmul_unpack.h in registers.
typedef struct {
    __m512i codes[GROUPS];
    __m512 scale[2];
    __m512 minimum;
} wide_block;

TARGET_VNNI INLINE __m512 load_halves(const uint8_t *at) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at));
}

TARGET_VNNI INLINE __m512 load_signed_bytes(const uint8_t *at) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)at)));
}

TARGET_VNNI INLINE void load_scales(int type, const uint8_t *super, const uint8_t *header, wide_block *block) {
    if (type == TYPE_Q6_K) {
        const __m512 scale = _mm512_mul_ps(load_halves(super), _mm512_set1_ps(0.25f));
        block->scale[0] = _mm512_mul_ps(scale, load_signed_bytes(header));
        block->scale[1] = _mm512_mul_ps(scale, load_signed_bytes(header + PANEL));
    } else if (is_super(type)) {
        // Their bytes are at most 63, so reading them as signed is right.
        block->scale[0] = _mm512_mul_ps(load_halves(super), load_signed_bytes(header));
        const __m512 minimum = _mm512_mul_ps(load_halves(super + 2 * PANEL), load_signed_bytes(header + PANEL));
        block->minimum = _mm512_xor_ps(minimum, _mm512_set1_ps(-0.0f));
    } else {
        block->scale[0] = load_halves(header);
        if (type == TYPE_Q4_0) block->scale[0] = _mm512_mul_ps(block->scale[0], _mm512_set1_ps(0x1p-4f));
        if (type == TYPE_Q5_0) block->scale[0] = _mm512_mul_ps(block->scale[0], _mm512_set1_ps(0x1p-3f));
        if (kind_of(type) == KIND_MINIMUM) block->minimum = load_halves(header + 2 * PANEL);
    }
}

/// Bit `from` (and those above it in `mask`) of every byte moved to bit `to`. Words are shifted, so `mask` also
/// removes what came over from the neighbour.
TARGET_VNNI INLINE __m512i move_bits(__m512i bytes, int from, int to, int mask) {
    const __m512i moved =
        from > to ? _mm512_srli_epi16(bytes, (unsigned)(from - to)) : _mm512_slli_epi16(bytes, (unsigned)(to - from));
    return _mm512_and_si512(moved, _mm512_set1_epi8((char)mask));
}

TARGET_VNNI INLINE void load_codes(int type, const uint8_t *quants, wide_block *block) {
    const __m512i *at = (const __m512i *)quants;
    if (type == TYPE_Q8_0) {
        UNROLL for (int g = 0; g < GROUPS; g++)
            block->codes[g] = _mm512_xor_si512(_mm512_loadu_si512(at + g), _mm512_set1_epi8((char)0x80));
        return;
    }
    // Where the four low bits end up: centered codes are scaled so that their zero point is 128.
    const int shift = type == TYPE_Q4_0 ? 4 : type == TYPE_Q5_0 ? 3 : type == TYPE_Q6_K ? 2 : 0;
    UNROLL for (int j = 0; j < 4; j++) {
        const __m512i low = _mm512_loadu_si512(at + j);
        block->codes[j] = move_bits(low, 0, shift, 15 << shift);
        block->codes[j + 4] = move_bits(low, 4, shift, 15 << shift);
    }
    if (high_size(type) == 0) return;
    UNROLL for (int g = 0; g < GROUPS; g++) {
        const bool two_bits = type == TYPE_Q6_K;
        const __m512i high = _mm512_loadu_si512(at + 4 + (two_bits ? g / 4 : 0));
        const int from = two_bits ? g % 4 * 2 : g;
        const __m512i moved = move_bits(high, from, 4 + shift, (two_bits ? 3 : 1) << (4 + shift));
        block->codes[g] = _mm512_or_si512(block->codes[g], moved);
    }
}

TARGET_VNNI INLINE void load_block(int type, const uint8_t *super, const uint8_t *header, wide_block *block) {
    load_scales(type, super, header, block);
    load_codes(type, header + block_header_size(type), block);
}

/// Where a block of several records is: of every fourth record the address, of those between a multiple of the stride
/// from there, which x86 adds for free. So 16 records need few registers.
typedef struct {
    const uint8_t *codes[4], *infos[4];
    size_t stride, thrice;
} record_cursor;

/// On block `block` of `count` records (a constant after inlining) from `records` on.
INLINE record_cursor cursor_at(const uint8_t *records, size_t stride, int64_t cols, int64_t block, int count) {
    record_cursor cursor = {.stride = stride, .thrice = 3 * stride};
    UNROLL for (int quad = 0; quad < (count + 3) / 4; quad++) {
        cursor.codes[quad] = records + 4 * (size_t)quad * stride + block * BLOCK;
        cursor.infos[quad] = records + 4 * (size_t)quad * stride + cols + (size_t)block * sizeof(block_info);
    }
    return cursor;
}

/// To the next block. The empty assembly keeps the compiler from splitting the addresses into more than it can hold.
INLINE void cursor_advance(record_cursor *cursor, int count) {
    UNROLL for (int quad = 0; quad < (count + 3) / 4; quad++) {
        cursor->codes[quad] += BLOCK;
        cursor->infos[quad] += sizeof(block_info);
        __asm__("" : "+r"(cursor->codes[quad]), "+r"(cursor->infos[quad]));
    }
    __asm__("" : "+r"(cursor->stride), "+r"(cursor->thrice));
}

INLINE size_t cursor_offset(const record_cursor *cursor, int t) {
    return t % 4 == 3 ? cursor->thrice : (size_t)(t % 4) * cursor->stride;
}

INLINE const int8_t *cursor_codes(const record_cursor *cursor, int t) {
    return (const int8_t *)(cursor->codes[t / 4] + cursor_offset(cursor, t));
}

INLINE const block_info *cursor_info(const record_cursor *cursor, int t) {
    return (const block_info *)(cursor->infos[t / 4] + cursor_offset(cursor, t));
}

INLINE uint16_t lane_mask(int lanes) { return (uint16_t)((1u << lanes) - 1); }
#endif
