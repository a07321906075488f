// backends/cpu/cpuid.h — what the processor offers and the operating system lets us use.
#pragma once

namespace lm::cpu {

struct CpuFeatures {
  bool avx2 = false;        // AVX2, FMA, F16C
  bool avxvnni = false;     // AVX-VNNI
  bool avx512 = false;      // AVX-512 F, BW, DQ, VL, VNNI
  bool avx512vbmi = false;  // and AVX-512 VBMI, GFNI
};

CpuFeatures detect_cpu();

}  // namespace lm::cpu
