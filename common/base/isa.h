// isa.h: which of the instruction sets that loops are compiled for (files named *_isa.c) this machine runs.
#ifndef ASSAY_BASE_ISA_H
#define ASSAY_BASE_ISA_H

enum isa { RUNS_BASELINE, RUNS_AVX2, RUNS_AVX512 };

// The best there is, decided once. The environment's ASSAY_ISA, "baseline", "avx2" or "avx512", may lower it (tests).
enum isa isa_here(void);
const char *isa_name(void);

// The variant that was compiled for it: name_baseline, name_avx2 or name_avx512.
#define ISA_PICK(name) \
    (isa_here() == RUNS_AVX512 ? &name##_avx512 : isa_here() == RUNS_AVX2 ? &name##_avx2 : &name##_baseline)

#endif
