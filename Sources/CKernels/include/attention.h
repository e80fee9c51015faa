#pragma once
#include <stddef.h>
#include <stdint.h>

/// Causal attention of a ragged batch over contiguous runs of cells.
///
/// Row `r` belongs to a sequence whose run starts at cell `table[2r]`; it stands at position `table[2r + 1]` and
/// attends to exactly the positions 0 ... position, always in the same order. So the bits of a row depend on nothing
/// but its query and those cells: not on the other rows, on its place, or on the number of workers. Cells beyond a
/// row's position are never read.
typedef struct {
    const float *query;     // [rows][heads][headSize]
    const uint16_t *keys;   // F16 [cells][keyHeads][headSize]
    const uint16_t *values; // F16 [cells][keyHeads][headSize]
    const int32_t *table;   // [rows][2]: first cell of the run, position
    float *output;          // [rows][heads][headSize]
    int rows;
    int heads;
    int keyHeads; // divides heads
    int headSize; // a multiple of 16, at most 512
    float scale;
    float *scratch; // `dv_attention_scratch_floats` for each worker
    size_t scratchFloats;
} dv_attention;

/// Floats of scratch memory that one worker needs for positions below `positions`.
size_t dv_attention_scratch_floats(int heads, int keyHeads, int headSize, int positions);

/// The arithmetic of ggml's unfused attention (product, soft_max, product) on one row at a time: queries and weights
/// are rounded to F16, sums are F32. Every instruction set gives the same bits.
void dv_attention_reference(const dv_attention *call, int worker, int workers);

/// The fast one: F32 throughout but for the cells. Blocks of 64 positions with a running maximum (Dao et al. 2022);
/// rows that follow each other in a sequence share the reading of cells. Every instruction set gives the same bits.
void dv_attention_native(const dv_attention *call, int worker, int workers);
