#include "engine/tools/quantize_method.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "engine/core/check.h"
#include "engine/core/text.h"
#include "engine/tools/rewrite.h"
#include "quant/decode.h"
#include "quant/encode.h"

namespace lm {
namespace {

// Numbers that a thread encodes at a time: whole blocks of every format, and 256 KiB.
constexpr int64_t kPiece = int64_t{1} << 16;
// Pieces that are encoded before they are written.
constexpr int64_t kPiecesAtOnce = 64;
constexpr size_t kCopyBytes = size_t{16} << 20;

Error stopped() {
  return Error{ErrorCode::cancelled, "the quantization was stopped; nothing was written"};
}

// A piece of one slice's rows, cut where rows end: importance belongs to columns.
void encode_piece(const EncodeJob& job, int64_t first, std::span<float> numbers, std::byte* out) {
  job.numbers(first, numbers);
  for (size_t done = 0; done < numbers.size();) {
    const int64_t at = first + int64_t(done);
    const int64_t col = at % job.cols;
    const size_t n = std::min(numbers.size() - done, size_t(job.cols - col));
    std::span<const float> importance;
    if (job.importance) importance = job.importance(at / (job.cols * job.rows));
    if (!importance.empty()) importance = importance.subspan(size_t(col), n);
    encode(job.type, numbers.subspan(done, n), out, importance);
    out += row_bytes(job.type, int64_t(n));
    done += n;
  }
}

Status copy_tensor(const QuantizeContext& context, std::span<const std::byte> bytes,
                   const gguf::Writer::Sink& sink) {
  for (size_t done = 0; done < bytes.size(); done += kCopyBytes) {
    if (context.stop && context.stop()) return stopped();
    LM_TRY(sink(bytes.subspan(done, std::min(kCopyBytes, bytes.size() - done))));
  }
  context.file.release(bytes);
  return ok();
}

// Their definitions leave nothing to choose.
bool is_fixed(DType type) {
  return dtype_info(type).block_elems == 1 || type == DType::q8_0 || is_i4g(type);
}

class RoundToNearest final : public QuantizeMethod {
 public:
  std::string_view name() const override { return "rtn"; }
  Status fill(const QuantizeContext& context, size_t index,
              const gguf::Writer::Sink& sink) override {
    return fill_plainly(context, index, sink);
  }
};

}  // namespace

bool all_finite(std::span<const float> numbers) {
  return std::ranges::all_of(numbers, [](float v) { return std::isfinite(v); });
}

Error not_finite(const gguf::TensorInfo& tensor) {
  return Error{ErrorCode::bad_file,
               concat(printable(tensor.name), ": expected finite weights, found others")};
}

bool QuantizeMethod::uses_importance(const PlannedType& planned) const {
  return !is_fixed(planned.type);
}

std::unique_ptr<QuantizeMethod> make_round_to_nearest() {
  return std::make_unique<RoundToNearest>();
}

Status encode_in_pieces(const QuantizeContext& context, const EncodeJob& job,
                        const gguf::Writer::Sink& sink) {
  LM_CHECK(can_encode(job.type) && job.cols % dtype_info(job.type).block_elems == 0);
  const size_t piece_bytes = row_bytes(job.type, kPiece);
  const int64_t n_pieces = (job.n_elements + kPiece - 1) / kPiece;
  const auto n_floats = size_t(std::min(kPiece, job.n_elements));
  std::vector<std::vector<float>> numbers(size_t(context.threads.size()),
                                          std::vector<float>(n_floats));
  std::vector<std::byte> out(size_t(std::min(n_pieces, kPiecesAtOnce)) * piece_bytes);
  for (int64_t group = 0; group < n_pieces; group += kPiecesAtOnce) {
    if (context.stop && context.stop()) return stopped();
    const int64_t n = std::min(kPiecesAtOnce, n_pieces - group);
    context.threads.parallel_for(n, [&](int64_t i, int thread) {
      const int64_t first = (group + i) * kPiece;
      const auto size = size_t(std::min(kPiece, job.n_elements - first));
      encode_piece(job, first, std::span(numbers[size_t(thread)]).first(size),
                   out.data() + size_t(i) * piece_bytes);
    });
    const int64_t end = std::min(job.n_elements, (group + n) * kPiece);
    LM_TRY(sink(std::span(out).first(row_bytes(job.type, end - group * kPiece))));
  }
  return ok();
}

SliceImportance importance_of(const Imatrix* imatrix, const gguf::TensorInfo& tensor) {
  const ImatrixEntry* entry = imatrix == nullptr ? nullptr : imatrix->find(tensor.name);
  if (entry == nullptr) return {};
  const auto cols = size_t(tensor.dims[0]);
  const size_t slices = size_t(tensor.dims[2] * tensor.dims[3]);
  if (entry->mean_squares.size() == cols) {  // one for all slices
    return [entry](int64_t) { return entry->slice(0); };
  }
  if (entry->mean_squares.size() != cols * slices) return {};
  if (entry->counts.size() == slices) {
    return [entry](int64_t slice) { return entry->slice(size_t(slice)); };
  }
  return [entry, cols](int64_t slice) {  // the older form does not count slices
    return std::span(entry->mean_squares).subspan(size_t(slice) * cols, cols);
  };
}

Status fill_plainly(const QuantizeContext& context, size_t index, const gguf::Writer::Sink& sink) {
  const PlannedType& planned = context.plan[index];
  const gguf::TensorInfo& from = *planned.from;
  if (from.dtype == planned.type) return copy_tensor(context, from.bytes, sink);
  const int block = dtype_info(from.dtype).block_elems;
  const int block_bytes = dtype_info(from.dtype).block_bytes;
  std::atomic<bool> finite = true;
  const EncodeJob job{.type = planned.type,
                      .n_elements = n_elements(from),
                      .cols = from.dims[0],
                      .rows = from.dims[1],
                      .numbers =
                          [&](int64_t first, std::span<float> out) {
                            decode(from.dtype, from.bytes.data() + first / block * block_bytes,
                                   out.data(), int64_t(out.size()));
                            if (!all_finite(out)) finite = false;
                          },
                      .importance = importance_of(context.imatrix, from)};
  // What was read is given back as it goes: a mapping of the input would fill the memory.
  const uint64_t ratio_from = from.bytes.size();
  uint64_t done = 0, released = 0;
  const uint64_t total = row_bytes(planned.type, job.n_elements);
  LM_TRY(encode_in_pieces(context, job, [&](std::span<const std::byte> bytes) -> Status {
    if (!finite) return not_finite(from);
    LM_TRY(sink(bytes));
    done += bytes.size();
    const auto read = uint64_t(double(ratio_from) * (double(done) / double(total)));
    if (read - released >= kCopyBytes) {
      context.file.release(from.bytes.subspan(size_t(released), size_t(read - released)));
      released = read;
    }
    return ok();
  }));
  context.file.release(from.bytes);
  return ok();
}

}  // namespace lm
