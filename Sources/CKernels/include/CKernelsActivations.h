#pragma once

#include <stddef.h>
#include <stdint.h>

// Quantised activations: the right-hand side of dejavu_matmul.
//
// A row of `cols` floats becomes one record of dejavu_activation_row_size(cols) bytes: 8-bit codes, then per block of
// 32 columns a scale, the scaled sum of the codes and integer sums. Codes and scales have the values ggml gives its
// Q8_0 and Q8_1 activations (scale = amax / 127 rounded to half precision, codes rounded to nearest even), so that a
// product differs from ggml's only by the order of float additions. A scale too large for half precision stays in
// single precision. A block with a value that is not finite gets a NaN scale: the product is NaN, as it would be
// without quantisation.
//
// In each function thread `ith` of `nth` does its share of the rows; the caller joins the threads before the records
// are read. Strides are in bytes. `records` is 64-byte aligned. `cols` is a positive multiple of 32.

/// The bytes of one record, a multiple of 64.
size_t dejavu_activation_row_size(int64_t cols);

/// records[i] = quantised x[i].
void dejavu_quantize_rows(
    const float *x, size_t x_stride, int64_t rows, int64_t cols, void *records, int ith, int nth);

/// records[i] = quantised (x[i] / sqrt(mean(x[i]^2) + epsilon) * weight). `weight` may be NULL, which means ones.
void dejavu_rms_norm_quantize_rows(
    const float *x, size_t x_stride, const float *weight, float epsilon, int64_t rows, int64_t cols, void *records,
    int ith, int nth);

/// sum[i] = x[i] + y[i], and records[i] = its quantised RMS norm as above. `sum` may be `x` or `y`.
void dejavu_add_rms_norm_quantize_rows(
    const float *x, size_t x_stride, const float *y, size_t y_stride, float *sum, size_t sum_stride,
    const float *weight, float epsilon, int64_t rows, int64_t cols, void *records, int ith, int nth);

/// records[i] = quantised (silu(gate[i]) * up[i]), silu(g) = g / (1 + exp(-g)).
void dejavu_swiglu_quantize_rows(
    const float *gate, size_t gate_stride, const float *up, size_t up_stride, int64_t rows, int64_t cols,
    void *records, int ith, int nth);
