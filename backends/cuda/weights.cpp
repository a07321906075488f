#include "backends/cuda/weights.h"

#include <cuda_runtime.h>

#include <vector>

#include "backends/cuda/error.h"
#include "backends/cuda/memory.h"
#include "quant/decode.h"

namespace lm::cuda {

Result<LoadedWeight> load_weight(const Context&, Backend& backend, const HostTensor& host,
                                 WeightUse use) {
  LM_TRY(checked_bytes(host));
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
  if (!bytes.empty()) {
    LM_TRY(
        check(cudaMemcpy(loaded.buffer->base(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice),
              "copying weights to the device"));
  }
  return loaded;
}

}  // namespace lm::cuda
