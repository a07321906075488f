// backends/cpu/repack.h — weights from the file's rows to the kernels' panels (isa/kernels.h).
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>

#include "backends/cpu/isa/kernels.h"
#include "engine/core/thread_pool.h"
#include "quant/dtype.h"

namespace lm::cpu {

inline constexpr uint8_t kLayoutRows = 0, kLayoutPanels = 1;

// The format in which the kernels read this type; none: it is decoded to f32 in cache.
std::optional<WeightFormat> native_format(DType type);

// Bytes of a panel of `lanes` rows, and of a matrix of m rows. Nothing is wider than in the file;
// the last panel is filled up with zeros.
size_t panel_bytes(DType type, int64_t k, int lanes);
size_t panels_bytes(DType type, int64_t m, int64_t k, int lanes);

// dst = a panel of `bytes` of each of n_rows rows, whole blocks; its other rows are zeros.
void interleave(DType type, const std::byte* rows, int64_t stride, int n_rows, int64_t bytes,
                int lanes, std::byte* dst);

// dst = n_matrices matrices of m rows each, as panels. The pool's threads share the work.
void repack(DType type, const std::byte* rows, int64_t n_matrices, int64_t m, int64_t k, int lanes,
            ThreadPool& pool, std::byte* dst);

}  // namespace lm::cpu
