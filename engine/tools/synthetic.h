// engine/tools/synthetic.h — a model of a known shape with random weights, as a GGUF file on disk
// or in memory. It says nothing of worth, but takes as long for each token as the real one.
#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/tools/shapes.h"

namespace lm {

struct SyntheticModel {
  const ModelShape* shape = nullptr;
  std::string_view recipe;  // "q4_K_M"
  uint64_t seed = 1;        // the same file for the same seed
};

// Writes the file; it appears under its name only when it is whole.
Status save_synthetic(const SyntheticModel& model, const std::filesystem::path& path);

// An anonymous file in memory, freed with the object.
class MemoryFile {
 public:
  static Result<MemoryFile> create();
  MemoryFile(MemoryFile&& other) noexcept;
  MemoryFile& operator=(MemoryFile&& other) noexcept;
  ~MemoryFile();

  Status write(std::span<const std::byte> bytes);
  std::filesystem::path path() const;  // opens it, within this process

 private:
  explicit MemoryFile(int fd) : fd_(fd) {}
  int fd_ = -1;
};

// The same file in memory.
Result<MemoryFile> generate_synthetic(const SyntheticModel& model);

// Blocks of `type` with random numbers of the given root mean square, in whole blocks. The bits are
// random; the scales are what makes sense of them.
std::vector<std::byte> random_blocks(DType type, size_t n_blocks, double rms, uint64_t seed);

}  // namespace lm
