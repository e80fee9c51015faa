#pragma once

#include "matmul_format.h"

/// A packed block in the form of the numeric definition: eight groups of codes (see matmul_format.h) and what they
/// are multiplied with. Centered codes have their zero point at 128. `scale[1]` is used by KIND_HALVES, `minimum` by
/// KIND_MINIMUM.
typedef struct {
    uint8_t codes[GROUPS][GROUP_BYTES];
    float scale[2][PANEL];
    float minimum[PANEL];
} unpacked_block;

INLINE float packed_half(const uint8_t *halves, int lane) {
    uint16_t half;
    memcpy(&half, halves + 2 * lane, sizeof half);
    return half_to_float(half);
}

INLINE void unpack_codes(int type, const uint8_t *quants, unpacked_block *block) {
    if (type == TYPE_Q8_0) {
        // Packed as signed codes: 128 is added here.
        for (int g = 0; g < GROUPS; g++)
            for (int i = 0; i < GROUP_BYTES; i++) block->codes[g][i] = quants[g * GROUP_BYTES + i] ^ 0x80;
        return;
    }
    const uint8_t *high = quants + BLOCK_CODES / 2;
    for (int g = 0; g < GROUPS; g++) {
        const uint8_t *low = quants + (g % 4) * GROUP_BYTES;
        for (int i = 0; i < GROUP_BYTES; i++) {
            uint8_t code = g < 4 ? low[i] & 15 : low[i] >> 4;
            if (type == TYPE_Q6_K) {
                code |= (uint8_t)((high[g / 4 * GROUP_BYTES + i] >> (g % 4 * 2) & 3) << 4);
                code = (uint8_t)(code << 2);
            } else if (high_size(type) > 0) {
                code |= (uint8_t)((high[i] >> g & 1) << 4);
            }
            if (type == TYPE_Q4_0) code = (uint8_t)(code << 4);
            if (type == TYPE_Q5_0) code = (uint8_t)(code << 3);
            block->codes[g][i] = code;
        }
    }
}

INLINE void unpack_scales(int type, const uint8_t *super, const uint8_t *header, unpacked_block *block) {
    for (int lane = 0; lane < PANEL; lane++) {
        if (type == TYPE_Q6_K) {
            const float scale = packed_half(super, lane) * 0.25f;
            block->scale[0][lane] = scale * (float)(int8_t)header[lane];
            block->scale[1][lane] = scale * (float)(int8_t)header[PANEL + lane];
        } else if (is_super(type)) {
            block->scale[0][lane] = packed_half(super, lane) * (float)header[lane];
            block->minimum[lane] = -(packed_half(super + 2 * PANEL, lane) * (float)header[PANEL + lane]);
        } else {
            const float unit = type == TYPE_Q4_0 ? 0x1p-4f : type == TYPE_Q5_0 ? 0x1p-3f : 1.0f;
            block->scale[0][lane] = packed_half(header, lane) * unit;
            if (kind_of(type) == KIND_MINIMUM) block->minimum[lane] = packed_half(header + 2 * PANEL, lane);
        }
    }
}

INLINE void unpack_block(int type, const uint8_t *panel, int64_t index, unpacked_block *block) {
    const uint8_t *header = panel + block_offset(type, index);
    const uint8_t *super = is_super(type) ? panel + super_offset(type, index) : NULL;
    unpack_scales(type, super, header, block);
    unpack_codes(type, header + block_header_size(type), block);
}
