#include "engine/tools/tensor_source.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <span>

#include "engine/core/check.h"
#include "quant/decode.h"
#include "quant/encode.h"

namespace lm::hf {
namespace {

constexpr int64_t kGroup = 32;  // numbers in an MXFP4 group (OCP Microscaling Formats 1.0)
constexpr int64_t kChunkBytes = 1 << 20;

template <size_t kBytes>
void gather(const TensorSource& source, const std::byte* in, int64_t first_row, int64_t n_rows,
            std::byte* out) {
  for (int64_t c = 0; c < source.cols;
       ++c) {  // columns outside: neighbours of a transposed row lie together
    for (int64_t r = 0; r < n_rows; ++r) {
      const int64_t at = source.first + (first_row + r) * source.row_step + c * source.col_step;
      std::memcpy(out + (r * source.cols + c) * int64_t(kBytes), in + at * int64_t(kBytes), kBytes);
    }
  }
}

// Hugging Face puts numbers 2i and 2i + 1 of a group into byte i (low, high nibble); ggml numbers
// i and i + 16, behind the group's scale byte.
void repack_mxfp4_group(const std::byte* in, std::byte scale, std::byte* out) {
  const auto number = [&](int i) { return unsigned(in[i / 2]) >> (i % 2 * 4) & 15; };
  out[0] = scale;
  for (int i = 0; i < 16; ++i) out[1 + i] = std::byte(number(i) | number(i + 16) << 4);
}

void read_mxfp4_rows(const TensorSource& source, size_t slice, int64_t first_row, int64_t n_rows,
                     std::byte* out) {
  const int64_t groups = source.cols / kGroup;
  for (int64_t r = 0; r < n_rows; ++r) {
    const int64_t row = source.first + (first_row + r) * source.row_step;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t at = row * groups + g;
      repack_mxfp4_group(source.slices[slice] + at * 16, source.scales[slice][at], out);
      out += 17;
    }
  }
}

}  // namespace

void read_rows(const TensorSource& source, size_t slice, int64_t first_row, int64_t n_rows,
               std::byte* out) {
  LM_CHECK(slice < source.slices.size() && first_row >= 0 && n_rows >= 0 &&
           first_row + n_rows <= source.rows);
  if (source.stored == DType::mxfp4) return read_mxfp4_rows(source, slice, first_row, n_rows, out);
  const std::byte* in = source.slices[slice];
  const size_t element = row_bytes(source.stored, 1);
  if (source.col_step == 1) {
    const size_t bytes = size_t(source.cols) * element;
    for (int64_t r = 0; r < n_rows; ++r) {
      const int64_t at = source.first + (first_row + r) * source.row_step;
      std::memcpy(out + size_t(r) * bytes, in + size_t(at) * element, bytes);
    }
    return;
  }
  return element == 4 ? gather<4>(source, in, first_row, n_rows, out)
                      : gather<2>(source, in, first_row, n_rows, out);
}

size_t TensorSource::n_slices() const {
  return !ints.empty() ? ints.size() : !fp8.empty() ? fp8.size() : slices.size();
}

// GGUF's "llama" rotates neighbours: output row 2j + s of a head is input row j + s * d/2.
int64_t TensorSource::input_row(size_t slice, int64_t row) const {
  if (!row_orders.empty() && row_orders[slice]) row = (*row_orders[slice])[size_t(row)];
  if (rope_pairs == 0) return row;
  const int64_t head = row / rope_pairs, i = row % rope_pairs;
  return head * rope_pairs + i / 2 + (i % 2) * (rope_pairs / 2);
}

NumberReader::NumberReader(const TensorSource& source, size_t slice)
    : source_(source), slice_(slice) {
  if (!source.ints.empty()) {
    ints_.emplace_back(source.ints[slice], source.col_order(slice), DType::f32);
    return;
  }
  if (source.plain()) stored_.resize(row_bytes(source.stored, source.cols));
  if (source.col_order(slice)) unordered_.resize(size_t(source.cols));
}

void NumberReader::read(int64_t row, float* out) {
  const int64_t from = source_.input_row(slice_, row);
  if (!ints_.empty()) return ints_[0].numbers(from, out);
  const Order order = source_.col_order(slice_);
  float* numbers = order ? unordered_.data() : out;
  if (!source_.fp8.empty()) {
    source_.fp8[slice_].numbers(from, numbers);
  } else {
    read_rows(source_, slice_, from, 1, stored_.data());
    decode(source_.stored, stored_.data(), numbers, source_.cols);
  }
  for (int64_t c = 0; order && c < source_.cols; ++c) out[c] = numbers[(*order)[size_t(c)]];
  if (source_.add != 0) {
    for (int64_t c = 0; c < source_.cols; ++c) out[c] += source_.add;
  }
}

double ConversionError::relative_rms() const {
  return total > 0 ? std::sqrt(squares / total) : 0;
}

void measure(DType type, const std::byte* written, std::span<const float> numbers,
             std::vector<float>& scratch, ConversionError& error) {
  scratch.resize(numbers.size());
  decode(type, written, scratch.data(), int64_t(numbers.size()));
  for (size_t i = 0; i < numbers.size(); ++i) {
    const double difference = std::fabs(double(scratch[i]) - double(numbers[i]));
    error.exact =
        error.exact && std::bit_cast<uint32_t>(scratch[i]) == std::bit_cast<uint32_t>(numbers[i]);
    error.largest = std::max(error.largest, difference);
    error.squares += difference * difference;
    error.total += double(numbers[i]) * double(numbers[i]);
  }
}

namespace {

// Writes one row after the other, handed on in chunks.
class RowStream {
 public:
  RowStream(size_t row_bytes, const gguf::Writer::Sink& sink) : row_bytes_(row_bytes), sink_(sink) {
    buffer_.reserve(std::max<size_t>(kChunkBytes, row_bytes));
  }
  std::byte* next() {
    buffer_.resize(buffer_.size() + row_bytes_);
    return buffer_.data() + buffer_.size() - row_bytes_;
  }
  Status row_done() { return buffer_.size() + row_bytes_ > kChunkBytes ? flush() : ok(); }
  Status flush() {
    if (!buffer_.empty()) LM_TRY(sink_(buffer_));
    buffer_.clear();
    return ok();
  }

 private:
  size_t row_bytes_;
  const gguf::Writer::Sink& sink_;
  std::vector<std::byte> buffer_;
};

Status stream_slice(const TensorSource& source, size_t slice, DType type, Recoding recoding,
                    ConversionError* error, RowStream& out) {
  std::vector<float> numbers(size_t(source.cols)), scratch;
  std::optional<NumberReader> reader;
  std::optional<IntRowEncoder> encoder;
  if (recoding == Recoding::integers)
    encoder.emplace(source.ints[slice], source.col_order(slice), type);
  if (recoding == Recoding::numbers || error != nullptr) reader.emplace(source, slice);
  for (int64_t row = 0; row < source.rows; ++row) {
    std::byte* to = out.next();
    if (reader) reader->read(row, numbers.data());
    if (recoding == Recoding::as_stored) {
      read_rows(source, slice, source.input_row(slice, row), 1, to);
    } else if (encoder) {
      encoder->encode(source.input_row(slice, row), to);
    } else {
      encode(type, numbers, to);
    }
    if (error != nullptr) measure(type, to, numbers, scratch, *error);
    LM_TRY(out.row_done());
  }
  return ok();
}

}  // namespace

Status stream_tensor(const TensorSource& source, DType type, Recoding recoding,
                     ConversionError* error, const gguf::Writer::Sink& sink) {
  RowStream out(row_bytes(type, source.cols), sink);
  for (size_t slice = 0; slice < source.n_slices(); ++slice)
    LM_TRY(stream_slice(source, slice, type, recoding, error, out));
  return out.flush();
}

}  // namespace lm::hf
