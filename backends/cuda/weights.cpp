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

Result<LoadedWeight> load_planes(const Context& context, Backend& backend, Staging& staging,
                                 const HostTensor& host) {
  const int64_t n_matrices = host.shape[0] * host.shape[1], m = host.shape[2], k = host.shape[3];
  const int64_t matrix_bytes = planes_bytes(host.dtype, m, k);
  LoadedWeight loaded;
  loaded.tensor.dtype = host.dtype;
  loaded.tensor.shape = host.shape;
  loaded.tensor.layout = kLayoutPlanes;
  loaded.buffer = LM_TRY(allocate_buffer(backend, size_t(n_matrices * matrix_bytes), false));
  loaded.tensor.buffer = loaded.buffer.get();
  const size_t stride = row_bytes(host.dtype, k);
  LM_TRY(staging.prepare(backend, stride * kTileRows));
  for (int64_t i = 0; i < n_matrices; ++i) {
    LM_TRY(send_planes(context, staging, host.dtype, m, k,
                       host.bytes.data() + size_t(i * m) * stride,
                       loaded.buffer->base() + i * matrix_bytes));
  }
  return loaded;
}

}  // namespace

Result<LoadedWeight> load_weight(const Context& context, Backend& backend, Staging& staging,
                                 const HostTensor& host, WeightUse use) {
  LM_TRY(checked_bytes(host));
  if (use == WeightUse::matrix && has_planes(host.dtype) && !host.bytes.empty()) {
    return load_planes(context, backend, staging, host);
  }
  const int64_t cols = host.shape[3],
                n_rows = cols == 0 ? 0 : host.shape[0] * host.shape[1] * host.shape[2];
  LoadedWeight loaded;
  Tensor& tensor = loaded.tensor;
  tensor.dtype = host.dtype;
  tensor.shape = host.shape;
  std::span<const std::byte> bytes = host.bytes;
  std::vector<float> values;
  if (use == WeightUse::vector) {
    values.resize(size_t(n_rows * cols));
    decode(host.dtype, host.bytes.data(), values.data(), n_rows * cols);
    bytes = std::as_bytes(std::span(values));
    tensor.dtype = DType::f32;
  }
  tensor.row_bytes = int64_t(row_bytes(tensor.dtype, cols));
  loaded.buffer = LM_TRY(allocate_buffer(backend, bytes.size(), false));
  tensor.buffer = loaded.buffer.get();
  LM_TRY(send_all(context, backend, staging, bytes, loaded.buffer->base()));
  return loaded;
}

}  // namespace lm::cuda
