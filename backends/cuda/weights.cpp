#include "backends/cuda/weights.h"

#include <algorithm>
#include <vector>

#include "backends/cuda/memory.h"
#include "backends/cuda/planes.h"
#include "backends/cuda/repack.h"
#include "quant/decode.h"

namespace lm::cuda {
namespace {

// Sends `bytes` as they are.
Status send_all(const Context& context, Backend& backend, Staging& staging,
                std::span<const std::byte> bytes, std::byte* to) {
  LM_TRY(staging.prepare(backend, 0));
  while (!bytes.empty()) {
    const size_t n = std::min(bytes.size(), staging.slab_bytes());
    LM_TRY(staging.send(context, bytes.first(n), to));
    LM_TRY(staging.sent(context));
    bytes = bytes.subspan(n);
    to += n;
  }
  return ok();
}

// Sends the rows of one matrix, as many whole tiles at a time as a slab holds, and repacks them.
Status send_planes(const Context& context, Staging& staging, DType type, int64_t m, int64_t k,
                   const std::byte* rows, std::byte* planes) {
  const size_t stride = row_bytes(type, k);
  const int64_t slab_tiles =
      std::min(int64_t(staging.slab_bytes() / (stride * kTileRows)), kMostRepackTiles);
  for (int64_t tile = 0; tile < tiles_of(m); tile += slab_tiles) {
    const int64_t n_tiles = std::min(slab_tiles, tiles_of(m) - tile);
    const int64_t first = tile * kTileRows, n_rows = std::min(n_tiles * kTileRows, m - first);
    const std::byte* on_device = LM_TRY(
        staging.send(context, {rows + size_t(first) * stride, size_t(n_rows) * stride}, nullptr));
    repack(context, type,
           {.rows = on_device,
            .n_rows = n_rows,
            .k = k,
            .planes = planes + tile * tile_bytes(type, k),
            .n_tiles = n_tiles});
    LM_TRY(staging.sent(context));
  }
  return ok();
}

// Of each matrix of a stack. There are bytes.
Status send_matrices(const Context& context, Backend& backend, Staging& staging,
                     const HostTensor& host, std::byte* planes) {
  const int64_t n_matrices = host.shape[0] * host.shape[1], m = host.shape[2], k = host.shape[3];
  const size_t stride = row_bytes(host.dtype, k);
  LM_TRY(staging.prepare(backend, stride * kTileRows));
  for (int64_t i = 0; i < n_matrices; ++i) {
    LM_TRY(send_planes(context, staging, host.dtype, m, k,
                       host.bytes.data() + size_t(i * m) * stride,
                       planes + i * planes_bytes(host.dtype, m, k)));
  }
  return ok();
}

bool becomes_planes(DType type, WeightUse use) {
  return use == WeightUse::matrix && has_planes(type);
}

}  // namespace

uint64_t weight_bytes(const WeightShape& weight) {
  const auto [a, b, rows, cols] = weight.shape;
  if (becomes_planes(weight.dtype, weight.use)) {
    return uint64_t(a * b * planes_bytes(weight.dtype, rows, cols));
  }
  const DType kept = weight.use == WeightUse::vector ? DType::f32 : weight.dtype;
  return uint64_t(a * b * rows) * row_bytes(kept, cols);
}

Result<LoadedWeight> load_weight(const Context& context, Backend& backend, Staging& staging,
                                 const HostTensor& host, WeightUse use) {
  LM_TRY(checked_bytes(host));
  LoadedWeight loaded;
  Tensor& tensor = loaded.tensor;
  tensor.dtype = use == WeightUse::vector ? DType::f32 : host.dtype;
  tensor.shape = host.shape;
  const size_t bytes = host.bytes.empty() ? 0 : weight_bytes({host.dtype, host.shape, use});
  loaded.buffer = LM_TRY(allocate_buffer(backend, bytes, false));
  tensor.buffer = loaded.buffer.get();
  std::byte* const to = loaded.buffer->base();
  if (becomes_planes(host.dtype, use) && bytes > 0) {
    tensor.layout = kLayoutPlanes;
    LM_TRY(send_matrices(context, backend, staging, host, to));
    return loaded;
  }
  tensor.row_bytes = int64_t(row_bytes(tensor.dtype, host.shape[3]));
  if (use != WeightUse::vector) {
    LM_TRY(send_all(context, backend, staging, host.bytes, to));
    return loaded;
  }
  std::vector<float> values(bytes / sizeof(float));
  decode(host.dtype, host.bytes.data(), values.data(), int64_t(values.size()));
  LM_TRY(send_all(context, backend, staging, std::as_bytes(std::span(values)), to));
  return loaded;
}

}  // namespace lm::cuda
