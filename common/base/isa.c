// isa.c: asks the processor, and the environment.
#include "isa.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char *const name[] = {[RUNS_BASELINE] = "baseline", [RUNS_AVX2] = "avx2", [RUNS_AVX512] = "avx512"};

static enum isa best(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
        return wide ? RUNS_AVX512 : RUNS_AVX2;
    }
#endif
    return RUNS_BASELINE;
}

enum isa isa_here(void) {
    static int known;  // 1 + what runs; every thread would find the same
    int k = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (k)
        return (enum isa)(k - 1);
    enum isa here = best();
    const char *wish = getenv("ASSAY_ISA");
    for (int i = RUNS_BASELINE; wish && i < (int)here; i++)
        if (!strcmp(wish, name[i]))
            here = (enum isa)i;
    __atomic_store_n(&known, 1 + (int)here, __ATOMIC_RELAXED);
    return here;
}

const char *isa_name(void) {
    return name[isa_here()];
}
