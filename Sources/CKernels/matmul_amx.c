#include "matmul_avx512.h"

#if defined(__x86_64__)

// Matrix tiles do the integer dots of 16 records, 16 rows and 32 columns at once. A chunk of a panel is first
// unpacked into a scratch that stays in the first-level cache; then each tile of records runs over it. The float
// additions are those of the numeric definition; between chunks the sums rest in `out`, which changes no bit.

enum {
    TILE_RECORDS = 16,
    CHUNK_TILES = 64,
    /// With fewer records, filling tiles costs more than it saves.
    RECORDS_MIN = 5,
    /// Integer results waiting for their float part, so that tiles and vectors work at the same time.
    IN_FLIGHT = 4,
};

// Tile registers: weights; a full and a partial tile of records; two results of each, used in turn.
#define TILE_WEIGHTS 0
#define TILE_FULL 1
#define TILE_PARTIAL 2
#define TILE_FULL_EVEN 3
#define TILE_FULL_ODD 4
#define TILE_PARTIAL_EVEN 5
#define TILE_PARTIAL_ODD 6

/// The operand of LDTILECFG (Intel SDM volume 1, 18.3).
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

/// A part of a panel in tile form: centered codes as signed bytes. Q6_K gives two tiles for a block, each with zeros
/// where the other half's scale holds.
typedef struct {
    _Alignas(64) uint8_t codes[CHUNK_TILES][BLOCK_CODES];
    float scale[CHUNK_TILES][PANEL];
    float minimum[CHUNK_TILES][PANEL];
    int32_t dots[IN_FLIGHT][TILE_RECORDS][PANEL];
} chunk;

TARGET_AMX static void configure(int64_t partial) {
    tile_config config = {.palette = 1};
    const uint8_t rows[7] = {GROUPS, TILE_RECORDS, 0, TILE_RECORDS, TILE_RECORDS, 0, 0};
    for (int tile = 0; tile <= TILE_PARTIAL_ODD; tile++) {
        const bool of_records = tile == TILE_FULL || tile == TILE_PARTIAL;
        config.row_bytes[tile] = of_records ? BLOCK : GROUP_BYTES;
        config.rows[tile] = rows[tile] > 0 ? rows[tile] : (uint8_t)(partial > 0 ? partial : 1);
    }
    _tile_loadconfig(&config);
}

INLINE int tiles_per_block(int type) { return kind_of(type) == KIND_HALVES ? 2 : 1; }

TARGET_AMX INLINE void store_tile(chunk *scratch, int tile, const wide_block *block, int type, int half) {
    const bool halves = kind_of(type) == KIND_HALVES;
    for (int g = 0; g < GROUPS; g++) {
        __m512i codes = block->codes[g];
        if (kind_of(type) != KIND_MINIMUM) codes = _mm512_xor_si512(codes, _mm512_set1_epi8((char)0x80));
        if (halves && g / 4 != half) codes = _mm512_setzero_si512();
        _mm512_store_si512(scratch->codes[tile] + g * GROUP_BYTES, codes);
    }
    _mm512_store_ps(scratch->scale[tile], block->scale[half]);
    if (kind_of(type) == KIND_MINIMUM) _mm512_store_ps(scratch->minimum[tile], block->minimum);
}

TARGET_AMX INLINE void unpack_chunk(int type, const uint8_t *panel, int64_t first, int64_t end, chunk *scratch) {
    int tile = 0;
    for (int64_t index = first; index < end; index++) {
        const uint8_t *super = is_super(type) ? panel + super_offset(type, index) : NULL;
        wide_block block;
        load_block(type, super, panel + block_offset(type, index), &block);
        for (int half = 0; half < tiles_per_block(type); half++) store_tile(scratch, tile++, &block, type, half);
    }
}

#define DOTS(RECORDS, RESULT, SIGNED)                                                                                  \
    do {                                                                                                               \
        _tile_zero(RESULT);                                                                                            \
        _tile_loadd(TILE_WEIGHTS, weights, GROUP_BYTES);                                                               \
        _tile_loadd(RECORDS, codes, stride);                                                                           \
        if (SIGNED) {                                                                                                  \
            _tile_dpbssd(RESULT, RECORDS, TILE_WEIGHTS);                                                               \
        } else {                                                                                                       \
            _tile_dpbsud(RESULT, RECORDS, TILE_WEIGHTS);                                                               \
        }                                                                                                              \
        _tile_stored(RESULT, result, sizeof scratch->dots[0][0]);                                                      \
    } while (0)

/// The integer dots of tile `tile` of the chunk with the records at `codes`.
TARGET_AMX INLINE void dots_of_tile(
    int type, bool full, chunk *scratch, int tile, const uint8_t *codes, size_t stride) {
    const uint8_t *weights = scratch->codes[tile];
    int32_t *result = &scratch->dots[tile % IN_FLIGHT][0][0];
    const bool centered = kind_of(type) != KIND_MINIMUM;
    if (full && tile % 2 == 0) {
        DOTS(TILE_FULL, TILE_FULL_EVEN, centered);
    } else if (full) {
        DOTS(TILE_FULL, TILE_FULL_ODD, centered);
    } else if (tile % 2 == 0) {
        DOTS(TILE_PARTIAL, TILE_PARTIAL_EVEN, centered);
    } else {
        DOTS(TILE_PARTIAL, TILE_PARTIAL_ODD, centered);
    }
}

/// One tile of records times a chunk of a panel.
typedef struct {
    const uint8_t *records;
    size_t stride;
    int64_t cols, first_block;
    int tiles;
    float *out;
    int64_t out_stride;
    /// The records that exist, at most 16.
    int count;
    __mmask16 mask;
} tile_run;

/// Where the infos of a tile's records start. A full tile keeps every fourth address and reaches those between by
/// multiples of the stride, to need few registers; a partial one may not go past its last record and repeats it.
typedef struct {
    const uint8_t *base[TILE_RECORDS];
} info_bases;

TARGET_AMX INLINE const block_info *info_of(const info_bases *bases, bool full, int t, size_t stride, size_t at) {
    const uint8_t *base = full ? bases->base[t / 4] + (size_t)(t % 4) * stride : bases->base[t];
    return (const block_info *)(base + at);
}

TARGET_AMX INLINE info_bases find_infos(const tile_run *run, int count, bool full) {
    info_bases bases;
    const uint8_t *first = run->records + run->cols + (size_t)run->first_block * sizeof(block_info);
    for (int i = 0; i < (full ? TILE_RECORDS / 4 : count); i++) {
        const int record = full ? 4 * i : i < run->count ? i : run->count - 1;
        bases.base[i] = first + (size_t)record * run->stride;
    }
    return bases;
}

/// `count` (a constant after inlining, the number of records or a little more) sums of 16 rows, over the chunk.
TARGET_AMX INLINE void run_tile(int type, int count, bool full, const tile_run *run, chunk *scratch) {
    __m512 sums[TILE_RECORDS];
    for (int t = 0; t < count; t++) {
        const bool fresh = run->first_block == 0 || t >= run->count;
        sums[t] = fresh ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(run->mask, run->out + t * run->out_stride);
    }
    const info_bases bases = find_infos(run, count, full);
    const size_t stride = run->stride;
    const uint8_t *codes = run->records + run->first_block * BLOCK;
    const int per_block = tiles_per_block(type);
    for (int tile = 0; tile < IN_FLIGHT - 1 && tile < run->tiles; tile++)
        dots_of_tile(type, full, scratch, tile, codes + tile / per_block * BLOCK, stride);
    for (int tile = 0; tile < run->tiles; tile++) {
        const int next = tile + IN_FLIGHT - 1;
        if (next < run->tiles) dots_of_tile(type, full, scratch, next, codes + next / per_block * BLOCK, stride);
        const __m512 scale = _mm512_load_ps(scratch->scale[tile]);
        const __m512 minimum = _mm512_load_ps(scratch->minimum[tile]);
        const size_t at = (size_t)(tile / per_block) * sizeof(block_info);
        for (int t = 0; t < count; t++) {
            const block_info *info = info_of(&bases, full, t, stride, at);
            const __m512 dots = _mm512_cvtepi32_ps(_mm512_load_si512(scratch->dots[tile % IN_FLIGHT][t]));
            sums[t] = _mm512_fmadd_ps(_mm512_mul_ps(scale, _mm512_set1_ps(info->scale)), dots, sums[t]);
            if (kind_of(type) == KIND_MINIMUM)
                sums[t] = _mm512_fmadd_ps(minimum, _mm512_set1_ps(info->sum), sums[t]);
        }
    }
    for (int t = 0; t < count; t++)
        if (t < run->count) _mm512_mask_storeu_ps(run->out + t * run->out_stride, run->mask, sums[t]);
}

/// A chunk of a panel times all records.
TARGET_AMX INLINE void run_chunk(int type, const matmul_job *job, tile_run run, chunk *scratch) {
    float *out = run.out;
    for (int64_t first = 0; first < job->n; first += TILE_RECORDS) {
        run.records = job->records + (size_t)first * run.stride;
        run.out = out + first * run.out_stride;
        run.count = job->n - first < TILE_RECORDS ? (int)(job->n - first) : TILE_RECORDS;
        switch ((run.count + 3) / 4) {
            case 1: run_tile(type, 4, false, &run, scratch); break;
            case 2: run_tile(type, 8, false, &run, scratch); break;
            case 3: run_tile(type, 12, false, &run, scratch); break;
            default:
                if (run.count == TILE_RECORDS) {
                    run_tile(type, TILE_RECORDS, true, &run, scratch);
                } else {
                    run_tile(type, TILE_RECORDS, false, &run, scratch);
                }
        }
    }
}

TARGET_AMX INLINE void multiply_panel(int type, const matmul_job *job, int64_t panel, chunk *scratch) {
    const uint8_t *weights = job->packed + (size_t)panel * panel_size(type, job->cols);
    tile_run run = {
        .stride = record_size(job->cols),
        .cols = job->cols,
        .out = job->out + panel * PANEL,
        .out_stride = job->out_stride,
        .mask = lane_mask(panel_lanes(job, panel)),
    };
    const int64_t blocks = job->cols / BLOCK, chunk_blocks = CHUNK_TILES / tiles_per_block(type);
    for (; run.first_block < blocks; run.first_block += chunk_blocks) {
        const int64_t left = blocks - run.first_block;
        const int64_t count = left < chunk_blocks ? left : chunk_blocks;
        run.tiles = (int)count * tiles_per_block(type);
        unpack_chunk(type, weights, run.first_block, run.first_block + count, scratch);
        run_chunk(type, job, run, scratch);
    }
}

#define DEFINE(TYPE)                                                                                                   \
    TARGET_AMX static void multiply_##TYPE(const matmul_job *job) {                                                    \
        chunk scratch;                                                                                                 \
        for (int64_t panel = job->first_panel; panel < job->end_panel; panel++)                                        \
            multiply_panel(TYPE_##TYPE, job, panel, &scratch);                                                         \
    }
FOR_EACH_TYPE(DEFINE)

TARGET_AMX void dejavu_matmul_amx(const matmul_job *job) {
    if (job->n < RECORDS_MIN) {
        dejavu_matmul_vnni(job);
        return;
    }
    configure(job->n % TILE_RECORDS);
    switch (job->type) {
#define CASE(TYPE)                                                                                                     \
    case TYPE_##TYPE: multiply_##TYPE(job); break;
        FOR_EACH_TYPE(CASE)
        default: abort();
    }
    _tile_release();
}
#endif
