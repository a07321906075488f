#include "backends/cpu/isa_select.h"

#include <cstdlib>
#include <span>
#include <string>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/cpuid.h"
#include "engine/core/text.h"

namespace lm::cpu {
namespace {

struct Table {
  const Kernels& (*kernels)();
  bool (*usable)(const CpuFeatures& cpu);
};

#if defined(__x86_64__)
// The table avx512 with the matmuls that are faster with VBMI.
const Kernels& avx512_and_vbmi_kernels() {
  static const Kernels kTable = [] {
    Kernels kernels = avx512_kernels();
    kernels.name = "avx512vbmi";
    for (int format = 0; format < kWeightFormats; ++format) {
      const auto faster = avx512vbmi_kernels().of[format];
      if (faster != nullptr) kernels.matmul[format] = faster;
    }
    return kernels;
  }();
  return kTable;
}
#endif

// Slowest first.
constexpr Table kTables[] = {
    {scalar_kernels, [](const CpuFeatures&) { return true; }},
#if defined(__x86_64__)
    {avx2_kernels, [](const CpuFeatures& cpu) { return cpu.avx2; }},
    {avxvnni_kernels, [](const CpuFeatures& cpu) { return cpu.avxvnni; }},
    {avx512_kernels, [](const CpuFeatures& cpu) { return cpu.avx512; }},
    {avx512_and_vbmi_kernels, [](const CpuFeatures& cpu) { return cpu.avx512vbmi; }},
#endif
};

}  // namespace

std::vector<const Kernels*> usable_kernels() {
  const CpuFeatures cpu = detect_cpu();
  std::vector<const Kernels*> usable;
  for (const Table& table : kTables) {
    if (table.usable(cpu)) usable.push_back(&table.kernels());
  }
  return usable;
}

std::vector<std::string_view> usable_isas() {
  std::vector<std::string_view> names;
  for (const Kernels* kernels : usable_kernels()) names.emplace_back(kernels->name);
  return names;
}

Result<const Kernels*> select_kernels(std::string_view forced) {
  const std::vector<const Kernels*> usable = usable_kernels();
  if (forced.empty()) {
    const char* variable = std::getenv("LLM_CPU");
    if (variable == nullptr || *variable == '\0') return usable.back();
    forced = variable;
  }
  for (const Kernels* kernels : usable) {
    if (forced == kernels->name) return kernels;
  }
  std::string known;
  bool exists = false;
  for (const Table& table : kTables) {
    const std::string_view name = table.kernels().name;
    known += concat(known.empty() ? "" : ", ", name);
    exists = exists || name == forced;
  }
  return Error{ErrorCode::bad_request, exists
                                           ? concat("this machine can't run the instruction set \"",
                                                    forced, "\" (LLM_CPU knows ", known, ")")
                                           : concat("expected an instruction set (", known,
                                                    "), found \"", printable(forced), "\"")};
}

}  // namespace lm::cpu
