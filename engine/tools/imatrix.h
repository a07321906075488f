// engine/tools/imatrix.h — an importance matrix: for every matrix of a model, how large the numbers
// are that its columns are multiplied by (their mean squares over some text; of experts, each
// expert's own). Reads and writes the two forms that the field has: llama.cpp's older .dat and its
// GGUF files (tools/imatrix/imatrix.cpp there).
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"

namespace lm {

struct ImatrixEntry {
  std::vector<float> mean_squares;  // [n_slices, cols], n_slices = counts.size()
  std::vector<float> counts;        // of inputs, for each slice; 0: nothing is known of it

  // Of one slice; empty when nothing is known.
  std::span<const float> slice(size_t i) const;
};

struct Imatrix {
  std::map<std::string, ImatrixEntry, std::less<>> entries;  // by the matrix's name
  std::vector<std::string> datasets;
  uint32_t n_chunks = 0;
  uint32_t chunk_tokens = 0;  // 0: the file does not say

  const ImatrixEntry* find(std::string_view name) const;
};

// Either form, told apart by its first bytes.
Result<Imatrix> read_imatrix(const std::filesystem::path& path);
Result<Imatrix> parse_imatrix(std::string_view bytes);

// By the name's end: ".dat" is the older form, anything else GGUF.
Status write_imatrix(const Imatrix& imatrix, const std::filesystem::path& path);

}  // namespace lm
