// engine/tools/quantize.h — a GGUF file becomes a smaller one: a recipe says which format each
// tensor gets, a method makes its blocks. Tensors stream through a few megabytes, on all threads;
// the file has the same bytes whatever their number, and appears only when it is whole.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "engine/tools/quantize_method.h"
#include "quant/dtype.h"

namespace lm {

struct TypeOverride {
  std::string pattern;  // a regular expression that occurs in the matrix's name
  DType type;
};

struct QuantizeOptions {
  std::filesystem::path in{}, out{};
  std::string recipe{};                            // "q4_K_M", "q8_0", "i4g128", ...
  std::filesystem::path imatrix{};                 // importance matrix; empty: none
  std::vector<std::filesystem::path> also_read{};  // by the caller: `out` must be none of these
  bool keep_head = false;                          // the output matrix stays as it is
  bool allow_requantize = false;                   // blocks are rounded a second time
  std::vector<TypeOverride> overrides{};           // the last one that matches counts
  int n_threads = 0;                               // 0: every usable core
  // nullptr: make_round_to_nearest().
  std::unique_ptr<QuantizeMethod> method{};
  std::function<void(uint64_t done, uint64_t total)> progress{};  // numbers; may be empty
  std::function<bool()> stop{};                                   // asked between pieces
};

struct QuantizedTensor {
  std::string name;
  DType from, to;
  std::string reason;  // why this type
  bool weighted;       // by the importance matrix
  uint64_t n_elements, from_bytes, bytes;
};

struct QuantizeReport {
  std::string recipe, method;
  std::vector<QuantizedTensor> tensors;
  std::vector<std::string> notes;  // what a user should know, one sentence each
  uint64_t n_elements = 0, from_bytes = 0, bytes = 0;
  double seconds = 0;  // that it took
  double bits_per_weight() const;
};

// What quantize() would do; nothing is written. `out` may be empty.
Result<QuantizeReport> plan_quantize(const QuantizeOptions& options);

// Error: bad_file, unsupported (a type that can't be written, blocks that would be rounded twice),
// bad_request, cancelled, io.
Result<QuantizeReport> quantize(QuantizeOptions options);

}  // namespace lm
