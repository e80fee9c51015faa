#pragma once

#include <stddef.h>
#include <stdint.h>

// crc32c (Castagnoli, reflected, polynomial 0x1EDC6F41; RFC 3720, B.4). All functions may be called from any thread.

enum {
    CCHECKSUM_PORTABLE = 0,
    CCHECKSUM_SSE42 = 1,
    CCHECKSUM_ARMV8 = 2,
    CCHECKSUM_AVX512 = 3,
};

/// The checksum of the bytes so far and of `count` more. `crc` is 0 before the first byte.
uint32_t cchecksum_update(uint32_t crc, const void *bytes, size_t count);

/// `cchecksum_update` of `source`, which is also copied to `target`; every byte is fetched from memory once. The two
/// must not overlap.
uint32_t cchecksum_copy(uint32_t crc, void *target, const void *source, size_t count);

/// `cchecksum_update` with the crc instruction alone, where `cchecksum_variant` is not portable: for the tests.
uint32_t cchecksum_update_lanes(uint32_t crc, const void *bytes, size_t count);

/// The same with the instructions that every processor has: the reference of the tests.
uint32_t cchecksum_update_portable(uint32_t crc, const void *bytes, size_t count);

/// The checksum of two strings of bytes, one behind the other, from those of each. `second_count` is the length of the
/// second.
uint32_t cchecksum_combine(uint32_t first, uint32_t second, uint64_t second_count);

/// Which instructions this processor computes with: one of the values above.
int cchecksum_variant(void);
