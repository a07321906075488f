// Source: Intel 64 and IA-32 Software Developer's Manual, volume 2, CPUID; volume 1, 13.3 (XCR0).
#include "backends/cpu/cpuid.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cstdint>

namespace lm::cpu {

#if defined(__x86_64__)
namespace {

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers leaf(uint32_t number, uint32_t sub) {
  Registers r;
  if (__get_cpuid_count(number, sub, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

bool bit(uint32_t word, int n) {
  return ((word >> n) & 1) != 0;
}

// The register states that the operating system saves on a context switch.
uint32_t xcr0() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

}  // namespace

CpuFeatures detect_cpu() {
  const Registers one = leaf(1, 0), seven = leaf(7, 0), seven_one = leaf(7, 1);
  const bool osxsave = bit(one.ecx, 27);
  const uint32_t saved = osxsave ? xcr0() : 0;
  const bool ymm = (saved & 0x06) == 0x06;  // XMM and upper halves of YMM
  const bool zmm = (saved & 0xE6) == 0xE6;  // and mask registers, ZMM
  CpuFeatures cpu;
  cpu.avx2 = ymm && bit(one.ecx, 28) && bit(one.ecx, 12) && bit(one.ecx, 29) && bit(seven.ebx, 5);
  cpu.avxvnni = cpu.avx2 && bit(seven_one.eax, 4);
  cpu.avx512 = cpu.avx2 && zmm && bit(seven.ebx, 16) && bit(seven.ebx, 17) && bit(seven.ebx, 30) &&
               bit(seven.ebx, 31) && bit(seven.ecx, 11);
  cpu.avx512vbmi = cpu.avx512 && bit(seven.ecx, 1) && bit(seven.ecx, 8);
  return cpu;
}
#else
CpuFeatures detect_cpu() {
  return {};
}
#endif

}  // namespace lm::cpu
