#include "engine/tools/convert_verify.h"

#include <algorithm>
#include <system_error>

#include "engine/core/hash.h"
#include "engine/core/text.h"
#include "gguf/file.h"

namespace lm::hf {
namespace {

// Tensors of this size give the memory of what they were compared with back.
constexpr size_t kLargeTensor = size_t{64} << 20;

Status compare_numbers(const PlannedTensor& tensor, const gguf::TensorInfo& written,
                       const ConvertedTensor& entry) {
  const TensorSource& source = tensor.source;
  const size_t stride = row_bytes(tensor.type, source.cols);
  std::vector<float> numbers(size_t(source.cols)), scratch;
  const std::byte* at = written.bytes.data();
  ConversionError error;
  for (size_t slice = 0; slice < source.n_slices(); ++slice) {
    NumberReader reader(source, slice);
    for (int64_t row = 0; row < source.rows; ++row, at += stride) {
      reader.read(row, numbers.data());
      measure(tensor.type, at, numbers, scratch, error);
    }
  }
  const bool as_reported = entry.exact ? error.exact : error.largest == entry.largest_error;
  if (as_reported) return ok();
  return Error{ErrorCode::io,
               concat(tensor.name, ": expected what was read back to differ from the source by ",
                      entry.largest_error, " at most, found ", error.largest)};
}

Status check_all(const std::filesystem::path& path, const safetensors::File& source,
                 const std::vector<PlannedTensor>& tensors, bool compare,
                 const std::function<bool()>& stop, ConvertReport& report) {
  const gguf::File file = LM_TRY(gguf::File::open(path));
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (stop && stop())
      return Error{ErrorCode::cancelled, "the conversion was stopped; nothing was written"};
    const gguf::TensorInfo* written = file.tensor(tensors[i].name);
    ConvertedTensor& entry = report.tensors[i];
    if (written == nullptr || written->dtype != tensors[i].type ||
        written->bytes.size() != entry.bytes) {
      return Error{ErrorCode::io, concat("expected tensor ", tensors[i].name,
                                         " in what was written, found another")};
    }
    entry.hash = hash64(written->bytes);
    if (compare && tensors[i].from_folder()) LM_TRY(compare_numbers(tensors[i], *written, entry));
    file.release(written->bytes);
    if (compare && written->bytes.size() >= kLargeTensor) source.release();
  }
  report.verified = compare;
  return ok();
}

}  // namespace

Status check_written(const std::filesystem::path& path, const safetensors::File& source,
                     const std::vector<PlannedTensor>& tensors, bool compare,
                     const std::function<bool()>& stop, ConvertReport& report) {
  Status checked = check_all(path, source, tensors, compare, stop, report);
  if (checked.ok()) return checked;
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  return std::move(checked).error().within(printable(path.native(), 1000));
}

}  // namespace lm::hf
