#include "include/CKernelsMatmul.h"

#include <stdatomic.h>

#include "support.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    REQUEST_STATE_PERMISSION = 0x1023,  // arch_prctl ARCH_REQ_XCOMP_PERM
    TILE_DATA_STATE = 18,
};

/// Linux gives a process the large tile registers only on request; threads that start later inherit the permission.
static bool request_tiles(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
    const unsigned tiles = 1u << 24 | 1u << 25;  // AMX-TILE, AMX-INT8
    if ((d & tiles) != tiles) return false;
#if defined(__linux__)
    return syscall(SYS_arch_prctl, REQUEST_STATE_PERMISSION, TILE_DATA_STATE) == 0;
#else
    return false;
#endif
}

static int detect(void) {
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi") &&
                      __builtin_cpu_supports("bmi2");
    if (!avx2) return DEJAVU_VARIANT_PORTABLE;
    const bool vnni = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vnni");
    if (!vnni) return DEJAVU_VARIANT_AVX2;
    return request_tiles() ? DEJAVU_VARIANT_AMX : DEJAVU_VARIANT_VNNI;
}
#else
static int detect(void) { return DEJAVU_VARIANT_PORTABLE; }
#endif

static atomic_int best_variant = -1;
static atomic_int forced_variant = -1;

/// Every thread that asks first finds the same answer, so a race is harmless.
static int best(void) {
    int variant = atomic_load_explicit(&best_variant, memory_order_relaxed);
    if (variant < 0) {
        variant = detect();
        atomic_store_explicit(&best_variant, variant, memory_order_relaxed);
    }
    return variant;
}

bool dejavu_variant_available(int variant) { return variant >= 0 && variant <= best(); }

int dejavu_variant(void) {
    const int forced = atomic_load_explicit(&forced_variant, memory_order_relaxed);
    return forced >= 0 ? forced : best();
}

bool dejavu_force_variant(int variant) {
    if (variant >= 0 && !dejavu_variant_available(variant)) return false;
    atomic_store_explicit(&forced_variant, variant < 0 ? -1 : variant, memory_order_relaxed);
    return true;
}

const char *dejavu_variant_name(int variant) {
    static const char *const names[DEJAVU_VARIANT_COUNT] = {"portable", "avx2", "avx512-vnni", "amx-int8"};
    REQUIRE(variant >= 0 && variant < DEJAVU_VARIANT_COUNT);
    return names[variant];
}
