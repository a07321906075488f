// engine/tools/convert.h — a Hugging Face model folder becomes one GGUF file.
// Families are data (convert_families.cpp): every tensor of the folder is named by a rule, or the
// conversion refuses; nothing is dropped silently. Tensors stream from the mapped safetensors to
// the output a few rows at a time, and the output appears only when it is whole. Checkpoints of
// integers (GPTQ, AWQ, compressed-tensors) keep their values bit for bit where a type holds them.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "quant/dtype.h"

namespace lm {

struct ConvertOptions {
  std::filesystem::path in{};   // folder: config.json, *.safetensors, tokenizer files
  std::filesystem::path out{};  // the GGUF file
  // Format of the matrices; empty: as stored, or what holds stored integers bit for bit. Norms,
  // biases, routers and everything one-dimensional are f32 always.
  std::optional<DType> type{};
  std::optional<DType> head{};  // of the output matrix, or of the embedding that is one
  bool exact = false;           // what no block type holds bit for bit becomes f32
  bool compat = false;          // only types and tensors that other programs know
  bool vocab = true;            // false: the folder's tokenizer is not read
  bool verify = false;          // read the result again and compare every number with the source
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress{};  // may be empty
  std::function<bool()> stop{};  // asked between writes; true: leave nothing, Error cancelled
};

struct ConvertedTensor {
  std::string name;
  std::string source;  // "bf16", "gptq 4-bit g128 sym"; "computed"
  DType type;
  bool exact;  // every number of the output is the source's, bit for bit
  double largest_error = 0, relative_rms_error = 0;
  uint64_t bytes = 0, hash = 0;  // of the output's bytes: XXH3 of 64 bits
};

struct ConvertReport {
  std::string family;        // as config.json names it: "LlamaForCausalLM"
  std::string architecture;  // as GGUF names it: "llama"
  size_t n_tensors = 0;
  uint64_t n_parameters = 0;
  uint64_t tensor_bytes = 0;       // in the output
  std::vector<std::string> notes;  // what a user should know, one sentence each
  std::vector<ConvertedTensor> tensors;
  bool verified = false;
};

// Error: bad_file (the folder's files are damaged or contradict each other), unsupported (a family
// or feature that no rule covers), bad_request (a type that can't be written), cancelled, io.
Result<ConvertReport> convert(const ConvertOptions& options);

// The values of "architectures" in config.json that convert() knows.
std::vector<std::string_view> convertible_families();

}  // namespace lm
