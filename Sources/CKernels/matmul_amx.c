#include "matmul_avx512.h"

#if defined(__x86_64__)

// Matrix tiles do the integer dots of 16 records, 16 rows and 32 columns at once. A chunk of a panel is first unpacked
// into a scratch that stays near; then each tile of records runs over it. The float additions are those of the numeric
// definition; between chunks the sums rest in `out`, which changes no bit. The float part is the limit: while the
// matrix unit is in use, vectors of 512 bits run at half rate.

enum {
    TILE_RECORDS = 16,
    CHUNK_TILES = 64,
    /// With fewer records, filling tiles costs more than it saves.
    RECORDS_MIN = 32,
};

// Tile registers: weights, records, and two results used in turn.
#define TILE_WEIGHTS 0
#define TILE_RECORD 1
#define TILE_EVEN 2
#define TILE_ODD 3

/// The operand of LDTILECFG (Intel SDM volume 1, 18.3).
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

static const tile_config config = {
    .palette = 1,
    .row_bytes = {GROUP_BYTES, BLOCK, GROUP_BYTES, GROUP_BYTES},
    .rows = {GROUPS, TILE_RECORDS, TILE_RECORDS, TILE_RECORDS},
};

/// A part of a panel in tile form: centered codes as signed bytes. Q6_K gives two tiles for a block, each with zeros
/// where the other half's scale holds.
typedef struct {
    _Alignas(64) uint8_t codes[CHUNK_TILES][BLOCK_CODES];
    float scale[CHUNK_TILES][PANEL];
    float minimum[CHUNK_TILES][PANEL];
    /// Integer results on their way from the matrix unit to vectors, of an even and an odd tile.
    int32_t dots[2][TILE_RECORDS][PANEL];
} chunk;

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

#define DOTS(RESULT)                                                                                                   \
    do {                                                                                                               \
        _tile_zero(RESULT);                                                                                            \
        _tile_loadd(TILE_WEIGHTS, weights, GROUP_BYTES);                                                               \
        _tile_loadd(TILE_RECORD, codes, stride);                                                                       \
        if (kind_of(type) == KIND_MINIMUM) {                                                                           \
            _tile_dpbsud(RESULT, TILE_RECORD, TILE_WEIGHTS);                                                           \
        } else {                                                                                                       \
            _tile_dpbssd(RESULT, TILE_RECORD, TILE_WEIGHTS);                                                           \
        }                                                                                                              \
    } while (0)

/// Starts the integer dots of one tile of weights with the records at `codes`.
TARGET_AMX INLINE void start_dots(int type, int odd, const uint8_t *weights, const uint8_t *codes, size_t stride) {
    if (odd) {
        DOTS(TILE_ODD);
    } else {
        DOTS(TILE_EVEN);
    }
}

/// Moves finished dots to where vectors can read them.
TARGET_AMX INLINE void store_dots(int odd, chunk *scratch) {
    if (odd) {
        _tile_stored(TILE_ODD, scratch->dots[1], GROUP_BYTES);
    } else {
        _tile_stored(TILE_EVEN, scratch->dots[0], GROUP_BYTES);
    }
}

/// The float part of one tile: 16 rows in a register, a sum per record.
TARGET_AMX INLINE void add_tile(int type, const record_cursor *cursor, const chunk *scratch, int tile, __m512 *sums) {
    const __m512 scale = _mm512_load_ps(scratch->scale[tile]);
    const bool has_minimum = kind_of(type) == KIND_MINIMUM;
    const __m512 minimum = has_minimum ? _mm512_load_ps(scratch->minimum[tile]) : _mm512_setzero_ps();
    UNROLL for (int t = 0; t < TILE_RECORDS; t++) {
        const block_info *info = cursor_info(cursor, t);
        const __m512 dots = _mm512_cvtepi32_ps(_mm512_load_si512(scratch->dots[tile % 2][t]));
        sums[t] = _mm512_fmadd_ps(_mm512_mul_ps(scale, _mm512_set1_ps(info->scale)), dots, sums[t]);
        if (has_minimum) sums[t] = _mm512_fmadd_ps(minimum, _mm512_set1_ps(info->sum), sums[t]);
    }
}

/// A chunk of a panel: `tiles` tiles from block `first_block` on.
typedef struct {
    int64_t panel, first_block;
    int tiles;
} chunk_place;

/// One step of the pipeline: while vectors add tile `tile`, the next is stored and the one after that is in the matrix
/// unit.
#define STEP(TILE, ODD)                                                                                                \
    do {                                                                                                               \
        if ((TILE) + 2 < tiles)                                                                                        \
            start_dots(type, ODD, scratch->codes[(TILE) + 2], codes + ((TILE) + 2) / per_block * BLOCK, stride);       \
        if ((TILE) + 1 < tiles) store_dots(!(ODD), scratch);                                                           \
        add_tile(type, &cursor, scratch, TILE, sums);                                                                  \
        if (per_block == 1 || (ODD)) cursor_advance(&cursor, TILE_RECORDS);                                            \
    } while (0)

/// Adds 16 records from `first` on times a chunk to `out`, or begins `out` with it.
TARGET_AMX INLINE void run_tiles(int type, const matmul_job *job, chunk_place place, int64_t first, chunk *scratch) {
    const size_t stride = record_size(job->cols);
    const uint8_t *records = job->records + (size_t)first * stride, *codes = records + place.first_block * BLOCK;
    record_cursor cursor = cursor_at(records, stride, job->cols, place.first_block, TILE_RECORDS);
    float *out = job->out + first * job->out_stride + place.panel * PANEL;
    const __mmask16 mask = lane_mask(panel_lanes(job, place.panel));
    const int tiles = place.tiles, per_block = tiles_per_block(type);
    __m512 sums[TILE_RECORDS];
    UNROLL for (int t = 0; t < TILE_RECORDS; t++)
        sums[t] = _mm512_maskz_loadu_ps(place.first_block == 0 ? 0 : mask, out + t * job->out_stride);
    start_dots(type, 0, scratch->codes[0], codes, stride);
    if (tiles > 1) start_dots(type, 1, scratch->codes[1], codes + 1 / per_block * BLOCK, stride);
    store_dots(0, scratch);
    for (int tile = 0; tile < tiles; tile += 2) {
        STEP(tile, 0);
        if (tile + 1 < tiles) STEP(tile + 1, 1);
    }
    UNROLL for (int t = 0; t < TILE_RECORDS; t++) _mm512_mask_storeu_ps(out + t * job->out_stride, mask, sums[t]);
}

/// One panel times all full tiles of records.
TARGET_AMX INLINE void multiply_panel(int type, const matmul_job *job, int64_t panel, chunk *scratch) {
    const uint8_t *weights = job->packed + (size_t)panel * panel_size(type, job->cols);
    const int64_t blocks = job->cols / BLOCK, chunk_blocks = CHUNK_TILES / tiles_per_block(type);
    for (int64_t block = 0; block < blocks; block += chunk_blocks) {
        const int64_t end = blocks < block + chunk_blocks ? blocks : block + chunk_blocks;
        const chunk_place place = {panel, block, (int)(end - block) * tiles_per_block(type)};
        unpack_chunk(type, weights, block, end, scratch);
        for (int64_t first = 0; first + TILE_RECORDS <= job->n; first += TILE_RECORDS)
            run_tiles(type, job, place, first, scratch);
    }
}

/// One panel times the records after the last full tile, while the panel is in cache.
static void multiply_rest(const matmul_job *job, int64_t panel) {
    matmul_job rest = *job;
    const int64_t done = job->n / TILE_RECORDS * TILE_RECORDS;
    rest.records += (size_t)done * record_size(job->cols);
    rest.out += done * job->out_stride;
    rest.n -= done;
    rest.first_panel = panel;
    rest.end_panel = panel + 1;
    if (rest.n > 0) dejavu_matmul_vnni(&rest);
}

#define DEFINE(TYPE)                                                                                                   \
    TARGET_AMX static void multiply_##TYPE(const matmul_job *job) {                                                    \
        chunk scratch;                                                                                                 \
        for (int64_t panel = job->first_panel; panel < job->end_panel; panel++) {                                      \
            multiply_panel(TYPE_##TYPE, job, panel, &scratch);                                                         \
            multiply_rest(job, panel);                                                                                 \
        }                                                                                                              \
    }
FOR_EACH_TYPE(DEFINE)

TARGET_AMX void dejavu_matmul_amx(const matmul_job *job) {
    if (job->n < RECORDS_MIN) {
        dejavu_matmul_vnni(job);
        return;
    }
    _tile_loadconfig(&config);
    switch (job->type) {
#define CASE(TYPE)                                                                                                     \
    case TYPE_##TYPE: multiply_##TYPE(job); break;
        FOR_EACH_TYPE(CASE)
        default: abort();
    }
    _tile_release();
}
#endif
