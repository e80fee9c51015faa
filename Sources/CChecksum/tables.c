#include <pthread.h>

#include "internal.h"

// Reflected: bit 31 is the coefficient of x^0.
static const uint32_t POLYNOMIAL = 0x82F63B78;
static const uint32_t ONE = 0x80000000;

static struct tables shared;
// x^(2^k) modulo the polynomial.
static uint32_t squares[64];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint32_t times_x(uint32_t value) { return value >> 1 ^ (value & 1 ? POLYNOMIAL : 0); }

static uint32_t multiply(uint32_t left, uint32_t right) {
    uint32_t product = 0;
    for (uint32_t bit = ONE; bit; bit >>= 1) {
        if (left & bit) product ^= right;
        right = times_x(right);
    }
    return product;
}

/// x^(8 * bytes) modulo the polynomial.
static uint32_t power(uint64_t bytes) {
    uint32_t result = ONE;
    // x^8 = x^(2^3): bit k of the count stands for x^(2^(k+3)). The order of x divides 2^32 - 1, so the exponent of
    // two may be taken modulo 32.
    for (int bit = 3; bytes; bytes >>= 1, bit++)
        if (bytes & 1) result = multiply(result, squares[bit & 31]);
    return result;
}

static void fill_move(uint32_t table[4][256], uint64_t bytes) {
    const uint32_t factor = power(bytes);
    for (int byte = 0; byte < 4; byte++)
        for (uint32_t value = 0; value < 256; value++) table[byte][value] = multiply(value << 8 * byte, factor);
}

/// Factors that move 16 bytes past `bytes` more, of which they are the first: one for each half, as far from the end as
/// it is, less what the reduction to 32 bits moves. One bit to the left, since the product of two reflected values is
/// one short.
static void fill_fold(uint64_t factors[2], uint64_t bytes) {
    factors[0] = (uint64_t)power(bytes + 4) << 1;
    factors[1] = (uint64_t)power(bytes - 4) << 1;
}

static void fill(void) {
    squares[0] = ONE >> 1;
    for (int index = 1; index < 64; index++) squares[index] = multiply(squares[index - 1], squares[index - 1]);
    for (uint32_t value = 0; value < 256; value++) {
        uint32_t state = value;
        for (int bit = 0; bit < 8; bit++) state = times_x(state);
        shared.step[0][value] = state;
    }
    for (int index = 1; index < 8; index++)
        for (uint32_t value = 0; value < 256; value++) {
            const uint32_t before = shared.step[index - 1][value];
            shared.step[index][value] = before >> 8 ^ shared.step[0][before & 0xFF];
        }
    fill_move(shared.past_long, LONG_LANE);
    fill_move(shared.past_short, SHORT_LANE);
    fill_fold(shared.fold_stride, 256);
    fill_fold(shared.fold_step, 64);
    // The last one stays where it is.
    for (int lane = 0; lane < 3; lane++) fill_fold(shared.fold_lanes + 2 * lane, 48 - 16 * (uint64_t)lane);
}

const struct tables *cchecksum_tables(void) {
    pthread_once(&once, fill);
    return &shared;
}

uint32_t cchecksum_combine(uint32_t first, uint32_t second, uint64_t second_count) {
    pthread_once(&once, fill);
    return multiply(first, power(second_count)) ^ second;
}
