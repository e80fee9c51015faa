#include <string.h>

#include "internal.h"

// Slicing by 8 (Kounavis and Berry, "Novel Table Lookup-Based Algorithms for High-Performance CRC Generation", 2008).
uint32_t cchecksum_update_portable(uint32_t crc, const void *bytes, size_t count) {
    const struct tables *tables = cchecksum_tables();
    const uint32_t (*step)[256] = tables->step;
    const unsigned char *at = bytes;
    uint32_t state = ~crc;
    for (; count >= 8; count -= 8, at += 8) {
        // Put together byte by byte, so that the order of bytes of the machine does not matter.
        const uint32_t low = state ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                                      (uint32_t)at[3] << 24);
        state = step[7][low & 0xFF] ^ step[6][low >> 8 & 0xFF] ^ step[5][low >> 16 & 0xFF] ^ step[4][low >> 24] ^
                step[3][at[4]] ^ step[2][at[5]] ^ step[1][at[6]] ^ step[0][at[7]];
    }
    for (; count; count--, at++) state = state >> 8 ^ step[0][(state ^ *at) & 0xFF];
    return ~state;
}
