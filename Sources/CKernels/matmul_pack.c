#include "matmul_unpack.h"

// From ggml's rows to panels. ggml's formats (GGUF specification and ggml-common.h), all little-endian, `half` an
// IEEE half:
//   Q4_0  half d, u8 qs[16]                      column j < 16: low half of qs[j]; column 16 + j: high half
//   Q4_1  half d, half m, u8 qs[16]
//   Q5_0  half d, u32 qh, u8 qs[16]              fifth bit of column j: bit j of qh
//   Q5_1  half d, half m, u32 qh, u8 qs[16]
//   Q8_0  half d, i8 qs[32]
//   Q4_K  half d, half dmin, u8 scales[12], u8 qs[128]              256 columns
//   Q5_K  half d, half dmin, u8 scales[12], u8 qh[32], u8 qs[128]
//   Q6_K  u8 ql[128], u8 qh[64], i8 scales[16], half d

/// One block of one row: its codes and the bytes of its scales, in the order of the packed headers.
typedef struct {
    uint8_t codes[BLOCK];
    uint8_t scale[2], minimum[2];              // halves; of the 256 columns in K formats
    uint8_t block_scale[2], block_minimum;     // only K formats
} source_block;

static size_t source_block_size(int type) {
    switch (type) {
        case TYPE_Q4_0: return 18;
        case TYPE_Q4_1: return 20;
        case TYPE_Q5_0: return 22;
        case TYPE_Q5_1: return 24;
        case TYPE_Q8_0: return 34;
        case TYPE_Q4_K: return 144;
        case TYPE_Q5_K: return 176;
        case TYPE_Q6_K: return 210;
        default: return 0;
    }
}

static size_t source_row_size(int type, int64_t cols) {
    return (size_t)(cols / (is_super(type) ? SUPER : BLOCK)) * source_block_size(type);
}

static void read_simple(int type, const uint8_t *at, source_block *block) {
    memcpy(block->scale, at, 2);
    at += 2;
    if (type == TYPE_Q8_0) {
        memcpy(block->codes, at, BLOCK);
        return;
    }
    if (kind_of(type) == KIND_MINIMUM) {
        memcpy(block->minimum, at, 2);
        at += 2;
    }
    uint32_t high = 0;
    if (high_size(type) > 0) {
        high = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        at += 4;
    }
    for (int j = 0; j < BLOCK / 2; j++) {
        block->codes[j] = (uint8_t)((at[j] & 15) | (high >> j & 1) << 4);
        block->codes[j + 16] = (uint8_t)((at[j] >> 4) | (high >> (j + 16) & 1) << 4);
    }
}

/// Block `sub` of 8 of a Q4_K or Q5_K super-block. The twelve bytes hold eight 6-bit scales and eight 6-bit minima:
/// the first four of each are the low bits of a byte, the upper bits of those bytes belong to the last four.
static void read_q45_k(int type, const uint8_t *at, int sub, source_block *block) {
    memcpy(block->scale, at, 2);
    memcpy(block->minimum, at + 2, 2);
    const uint8_t *s = at + 4;
    if (sub < 4) {
        block->block_scale[0] = s[sub] & 63;
        block->block_minimum = s[sub + 4] & 63;
    } else {
        block->block_scale[0] = (uint8_t)((s[sub + 4] & 15) | (s[sub - 4] >> 6) << 4);
        block->block_minimum = (uint8_t)((s[sub + 4] >> 4) | (s[sub] >> 6) << 4);
    }
    const uint8_t *high = type == TYPE_Q5_K ? at + 16 : NULL;
    const uint8_t *low = at + (type == TYPE_Q5_K ? 48 : 16) + sub / 2 * 32;
    for (int j = 0; j < BLOCK; j++) {
        const uint8_t code = sub % 2 == 0 ? low[j] & 15 : low[j] >> 4;
        block->codes[j] = (uint8_t)(code | (high ? (high[j] >> sub & 1) << 4 : 0));
    }
}

/// Block `sub` of 8 of a Q6_K super-block, which is stored in halves of four blocks.
static void read_q6_k(const uint8_t *at, int sub, source_block *block) {
    const int quarter = sub % 4;
    const uint8_t *low = at + sub / 4 * 64 + quarter % 2 * 32;
    const uint8_t *high = at + 128 + sub / 4 * 32;
    for (int j = 0; j < BLOCK; j++) {
        const uint8_t code = quarter < 2 ? low[j] & 15 : low[j] >> 4;
        block->codes[j] = (uint8_t)(code | (high[j] >> (2 * quarter) & 3) << 4);
    }
    memcpy(block->block_scale, at + 192 + 2 * sub, 2);
    memcpy(block->scale, at + 208, 2);
}

static void read_block(int type, const uint8_t *row, int64_t index, source_block *block) {
    if (!is_super(type)) {
        read_simple(type, row + (size_t)index * source_block_size(type), block);
        return;
    }
    const uint8_t *at = row + (size_t)(index / 8) * source_block_size(type);
    if (type == TYPE_Q6_K) {
        read_q6_k(at, (int)(index % 8), block);
    } else {
        read_q45_k(type, at, (int)(index % 8), block);
    }
}

static void write_scales(int type, const source_block *block, int lane, uint8_t *super, uint8_t *header) {
    if (!is_super(type)) {
        memcpy(header + 2 * lane, block->scale, 2);
        if (kind_of(type) == KIND_MINIMUM) memcpy(header + 2 * PANEL + 2 * lane, block->minimum, 2);
        return;
    }
    memcpy(super + 2 * lane, block->scale, 2);
    header[lane] = block->block_scale[0];
    if (type == TYPE_Q6_K) {
        header[PANEL + lane] = block->block_scale[1];
    } else {
        memcpy(super + 2 * PANEL + 2 * lane, block->minimum, 2);
        header[PANEL + lane] = block->block_minimum;
    }
}

static void write_codes(int type, const uint8_t *codes, int lane, uint8_t *quants) {
    if (type == TYPE_Q8_0) {
        for (int g = 0; g < GROUPS; g++) memcpy(quants + g * GROUP_BYTES + 4 * lane, codes + 4 * g, 4);
        return;
    }
    uint8_t *high = quants + BLOCK_CODES / 2;
    for (int g = 0; g < 4; g++) {
        for (int i = 0; i < 4; i++) {
            const uint8_t a = codes[4 * g + i], b = codes[4 * (g + 4) + i];
            quants[g * GROUP_BYTES + 4 * lane + i] = (uint8_t)((a & 15) | (b & 15) << 4);
            if (type == TYPE_Q6_K) {
                high[4 * lane + i] |= (uint8_t)((a >> 4) << (2 * g));
                high[GROUP_BYTES + 4 * lane + i] |= (uint8_t)((b >> 4) << (2 * g));
            } else if (high_size(type) > 0) {
                high[4 * lane + i] |= (uint8_t)((a >> 4) << g | (b >> 4) << (g + 4));
            }
        }
    }
}

static void pack_panel(int type, int64_t cols, const uint8_t *rows, int lanes, uint8_t *panel) {
    memset(panel, 0, panel_size(type, cols));
    for (int lane = 0; lane < lanes; lane++) {
        const uint8_t *row = rows + (size_t)lane * source_row_size(type, cols);
        for (int64_t index = 0; index < cols / BLOCK; index++) {
            source_block block;
            read_block(type, row, index, &block);
            uint8_t *header = panel + block_offset(type, index);
            uint8_t *super = is_super(type) ? panel + super_offset(type, index) : NULL;
            write_scales(type, &block, lane, super, header);
            write_codes(type, block.codes, lane, header + block_header_size(type));
        }
    }
}

bool dejavu_can_pack(int32_t type, int64_t rows, int64_t cols) {
    const int64_t limit = (int64_t)1 << 24;
    if (source_block_size(type) == 0 || rows <= 0 || rows > limit || cols <= 0 || cols > limit) return false;
    return cols % (is_super(type) ? SUPER : BLOCK) == 0;
}

size_t dejavu_packed_size(int32_t type, int64_t rows, int64_t cols) {
    if (!dejavu_can_pack(type, rows, cols)) return 0;
    const size_t size = (size_t)((rows + PANEL - 1) / PANEL) * panel_size(type, cols);
    return (size + 63) / 64 * 64;
}

void dejavu_pack(
    int32_t type, int64_t rows, int64_t cols, const void *weights, void *packed, int ith, int nth) {
    REQUIRE(dejavu_can_pack(type, rows, cols));
    REQUIRE((uintptr_t)packed % 64 == 0 && nth > 0 && ith >= 0 && ith < nth);
    const int64_t panels = (rows + PANEL - 1) / PANEL;
    const int64_t end = share_start(panels, ith + 1, nth);
    for (int64_t panel = share_start(panels, ith, nth); panel < end; panel++) {
        const int64_t left = rows - panel * PANEL;
        const uint8_t *source = (const uint8_t *)weights + (size_t)(panel * PANEL) * source_row_size(type, cols);
        uint8_t *target = (uint8_t *)packed + (size_t)panel * panel_size(type, cols);
        pack_panel(type, cols, source, left < PANEL ? (int)left : PANEL, target);
    }
    if (end == panels) {
        const size_t used = (size_t)panels * panel_size(type, cols);
        memset((uint8_t *)packed + used, 0, dejavu_packed_size(type, rows, cols) - used);
    }
}

void dejavu_unpack_row(
    int32_t type, int64_t rows, int64_t cols, const void *packed, int64_t row, float *values) {
    REQUIRE(dejavu_can_pack(type, rows, cols) && row >= 0 && row < rows);
    const uint8_t *panel = (const uint8_t *)packed + (size_t)(row / PANEL) * panel_size(type, cols);
    const int lane = (int)(row % PANEL);
    const format_kind kind = kind_of(type);
    for (int64_t index = 0; index < cols / BLOCK; index++) {
        unpacked_block block;
        unpack_block(type, panel, index, &block);
        for (int column = 0; column < BLOCK; column++) {
            const int code = block.codes[column / 4][4 * lane + column % 4];
            const float scale = block.scale[kind == KIND_HALVES && column >= 16][lane];
            values[index * BLOCK + column] =
                kind == KIND_MINIMUM ? (float)code * scale + block.minimum[lane] : (float)(code - 128) * scale;
        }
    }
}
