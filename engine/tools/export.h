// engine/tools/export.h — a GGUF file back into a Hugging Face folder, so that the very same model
// can be served by programs that read those: matrices as GPTQ modules of the second format where
// their blocks hold integers, everything else as plain numbers.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "engine/core/result.h"
#include "quant/dtype.h"

namespace lm {

struct ExportOptions {
  std::filesystem::path in{};   // the GGUF file
  std::filesystem::path out{};  // the folder: absent or empty
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress{};  // may be empty
  std::function<bool()> stop{};  // asked between tensors; true: leave nothing, Error cancelled
};

struct ExportedTensor {
  std::string name;    // as Hugging Face names it
  DType type;          // in the GGUF
  std::string format;  // "gptq 4-bit g128 sym", "f16"
  bool exact = true;
  double largest_error = 0, relative_rms_error = 0;
};

struct ExportReport {
  std::string family;
  std::vector<ExportedTensor> tensors;
  std::vector<std::string> notes;
};

// Error: bad_file, unsupported (a family or tensor without a Hugging Face counterpart here),
// bad_request (the folder), cancelled, io.
Result<ExportReport> export_hf_gptq(const ExportOptions& options);

}  // namespace lm
