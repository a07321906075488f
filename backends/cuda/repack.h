// backends/cuda/repack.h — a file's rows, on the device, to planes (planes.h).
#pragma once
#include <cstddef>
#include <cstdint>

#include "backends/cuda/context.h"
#include "quant/dtype.h"

namespace lm::cuda {

inline constexpr int64_t kMostRepackTiles = 65535;  // a grid's second dimension

// planes = n_tiles tiles of 16 rows of k columns. Rows from n_rows on are zeros.
struct Repack {
  const std::byte* rows = nullptr;
  int64_t n_rows = 0, k = 0;
  std::byte* planes = nullptr;
  int64_t n_tiles = 0;
};
void repack(const Context& context, DType type, const Repack& op);

}  // namespace lm::cuda
