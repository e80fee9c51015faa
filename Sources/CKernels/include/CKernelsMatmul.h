#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// y[n][rows] = W[rows][cols] * x[n][cols] for ggml's quantised weight formats, repacked.
//
// One numeric definition holds for every instruction set, so all variants give the same bits: over blocks of 32
// columns (of 16 for Q6_K) in ascending order,
//     acc = fma(weight_scale * x_scale, (float)integer_dot, acc)
//     acc = fma(minimum, x_sum, acc)                              in formats that have a minimum
// in single precision. The integer dot is exact in any order, which is where AMX, VNNI and AVX2 differ from each
// other.
//
// `type` is the number of a ggml_type (GGUF specification): Q4_0 2, Q4_1 3, Q5_0 6, Q5_1 7, Q8_0 8, Q4_K 12, Q5_K 13,
// Q6_K 14.

/// Changes when packed bytes or results change: part of the key of a cache of packed weights and of the numeric class.
enum { DEJAVU_KERNEL_VERSION = 1 };

/// Whether this format and shape can be packed: `cols` a multiple of 32 (of 256 for the K formats), sizes sane.
bool dejavu_can_pack(int32_t type, int64_t rows, int64_t cols);

/// The bytes of the packed matrix, a multiple of 64; 0 when it cannot be packed.
size_t dejavu_packed_size(int32_t type, int64_t rows, int64_t cols);

/// Packs thread `ith`'s share of the rows. `weights` holds ggml's rows one after the other. `packed` is 64-byte
/// aligned, holds no addresses, and is fully written (padding too) once all `nth` shares are done, so it may live in
/// a file that is mapped.
void dejavu_pack(
    int32_t type, int64_t rows, int64_t cols, const void *weights, void *packed, int ith, int nth);

/// Row `row` of the packed matrix in single precision, with the values that ggml's dequantisation gives: an embedding
/// lookup that needs no second copy of tied weights.
void dejavu_unpack_row(
    int32_t type, int64_t rows, int64_t cols, const void *packed, int64_t row, float *values);

/// out[i][0..<rows] = W * x[i] for i in 0..<n; thread `ith` of `nth` computes its share of the weight rows.
/// `activations` are `n` records (see CKernelsActivations.h) of `cols` columns. `out_stride` is in bytes.
void dejavu_matmul(
    int32_t type, int64_t rows, int64_t cols, const void *packed, const void *activations, int64_t n, float *out,
    size_t out_stride, int ith, int nth);

/// The code that runs on this CPU, best first in the order of availability. Results do not depend on it.
enum {
    DEJAVU_VARIANT_PORTABLE = 0,
    DEJAVU_VARIANT_AVX2 = 1,
    DEJAVU_VARIANT_VNNI = 2,
    DEJAVU_VARIANT_AMX = 3,
    DEJAVU_VARIANT_COUNT = 4,
};

/// Whether this CPU and kernel offer the variant.
bool dejavu_variant_available(int variant);

/// The variant in use, by default the last available one.
int dejavu_variant(void);

/// For tests and benchmarks, while no product runs: uses `variant`, or again the default when negative. False if not
/// available.
bool dejavu_force_variant(int variant);

/// A name for logs, e.g. "amx".
const char *dejavu_variant_name(int variant);
