#include "backends/backend.h"

#include <optional>
#include <vector>

#include "engine/core/check.h"
#include "engine/core/checked.h"
#include "engine/core/text.h"

namespace lm {
namespace {

// Filled by downloads, which wait.
class WaitingLanding final : public Landing {
 public:
  WaitingLanding(Backend& backend, size_t bytes) : backend_(backend), bytes_(bytes) {}

  void send(std::span<const Tensor> tensors) override {
    std::span<std::byte> rest(bytes_);
    for (const Tensor& t : tensors) {
      const size_t n = size_t(t.rows() * t.row_bytes);
      backend_.download(rest.first(n), t);
      rest = rest.subspan(n);
    }
  }
  Result<std::span<const std::byte>> wait() override {
    LM_TRY(backend_.synchronize());
    return std::span<const std::byte>(bytes_);
  }

 private:
  Backend& backend_;
  std::vector<std::byte> bytes_;
};

}  // namespace

Tensor first_rows(Tensor t, int64_t n) {
  return row_range(t, 0, n);
}

Tensor row_range(Tensor t, int64_t first, int64_t n) {
  LM_CHECK(t.layout == 0 && first >= 0 && n >= 0 && first + n <= t.rows());
  t.offset += uint64_t(first * t.row_bytes);
  t.shape = {1, 1, n, t.cols()};
  return t;
}

Tensor reshaped(Tensor t, int64_t rows, int64_t cols) {
  LM_CHECK(t.layout == 0 && t.rows() * t.cols() == rows * cols);
  LM_CHECK(t.rows() <= 1 || t.row_bytes == int64_t(row_bytes(t.dtype, t.cols())));
  t.shape = {1, 1, rows, cols};
  t.row_bytes = int64_t(row_bytes(t.dtype, cols));
  return t;
}

Result<uint64_t> checked_bytes(const HostTensor& host) {
  const DTypeInfo& info = dtype_info(host.dtype);
  std::optional<uint64_t> blocks = 1;
  for (size_t i = 0; i < 4; ++i) {
    uint64_t extent = uint64_t(host.shape[i]);
    if (host.shape[i] < 0) blocks = std::nullopt;
    if (i == 3) {
      if (extent % uint64_t(info.block_elems) != 0) blocks = std::nullopt;
      extent /= uint64_t(info.block_elems);
    }
    if (blocks) blocks = checked_mul(*blocks, extent);
  }
  const std::optional<uint64_t> bytes =
      blocks ? checked_mul(*blocks, uint64_t(info.block_bytes)) : std::nullopt;
  if (!bytes || *bytes != host.bytes.size()) {
    return Error{ErrorCode::bad_file,
                 concat("expected a tensor's bytes to match its shape, found ", host.bytes.size(),
                        " bytes of ", info.name, " for ", host.shape[0], " x ", host.shape[1],
                        " x ", host.shape[2], " x ", host.shape[3])};
  }
  return *bytes;
}

void Backend::norm_linears(const RmsNorm& norm, std::span<const Linear> linears) {
  rms_norm(norm);
  for (const Linear& op : linears) linear(op);
}

void Backend::rope_kv_write(const HeadNorms& norms, const Rope& turn, const KvWrite& write,
                            const StepView& step) {
  const auto normalise = [&](Tensor heads, Tensor weight) {
    if (!weight) return;
    heads.shape = {1, 1, heads.rows(), heads.cols()};
    rms_norm({.x = heads, .weight = weight, .out = heads, .eps = norms.eps});
  };
  normalise(turn.q, norms.q_weight);
  normalise(turn.k, norms.k_weight);
  rope(turn, step);
  kv_write(write, step);
}

void Backend::norm_glu(const RmsNorm& norm, const Linear& gate, const Linear& up, const Glu& op) {
  rms_norm(norm);
  linear(gate);
  linear(up);
  glu(op);
}

Status Backend::expect_uploads(size_t) {
  return ok();
}

Result<std::unique_ptr<Landing>> Backend::make_landing(size_t bytes) {
  return std::unique_ptr<Landing>(std::make_unique<WaitingLanding>(*this, bytes));
}

Result<DeviceLimits> Backend::measure_limits() {
  return Error{ErrorCode::unsupported, concat("the limits of ", name(), " can't be measured")};
}

void Backend::run(StepKey, Body body, void* self) {
  body(self);
}

}  // namespace lm
