#include "engine/tools/tensor_source.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "engine/core/check.h"
#include "quant/decode.h"
#include "quant/encode.h"

namespace lm::hf {
namespace {

constexpr int64_t kGroup = 32;  // numbers in an MXFP4 group (OCP Microscaling Formats 1.0)
constexpr int64_t kChunkBytes = 1 << 20;

// GGUF's "llama" rotates neighbours: output row 2j + s of a head is input row j + s * d/2.
int64_t input_row(const TensorSource& source, int64_t row) {
  if (source.rope_pairs == 0) return row;
  const int64_t head = row / source.rope_pairs, i = row % source.rope_pairs;
  return head * source.rope_pairs + i / 2 + (i % 2) * (source.rope_pairs / 2);
}

template <size_t kBytes>
void gather(const TensorSource& source, const std::byte* in, int64_t first_row, int64_t n_rows,
            std::byte* out) {
  for (int64_t c = 0; c < source.cols;
       ++c) {  // columns outside: neighbours of a transposed row lie together
    for (int64_t r = 0; r < n_rows; ++r) {
      const int64_t at =
          source.first + input_row(source, first_row + r) * source.row_step + c * source.col_step;
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
      const int64_t at = source.first + input_row(source, first_row + r) * source.row_step;
      std::memcpy(out + size_t(r) * bytes, in + size_t(at) * element, bytes);
    }
    return;
  }
  return element == 4 ? gather<4>(source, in, first_row, n_rows, out)
                      : gather<2>(source, in, first_row, n_rows, out);
}

Status stream_tensor(const TensorSource& source, DType type, const gguf::Writer::Sink& sink) {
  const int64_t per_row = int64_t(row_bytes(source.stored, source.cols));
  const int64_t chunk = std::clamp<int64_t>(kChunkBytes / per_row, 1, source.rows);
  const bool as_stored = type == source.stored && source.add == 0;
  std::vector<std::byte> rows(size_t(chunk * per_row));
  std::vector<float> numbers(as_stored ? 0 : size_t(source.cols));
  const size_t encoded_row = row_bytes(type, source.cols);
  std::vector<std::byte> encoded(as_stored ? 0 : size_t(chunk) * encoded_row);
  for (size_t slice = 0; slice < source.slices.size(); ++slice) {
    for (int64_t first = 0; first < source.rows; first += chunk) {
      const int64_t n = std::min(chunk, source.rows - first);
      read_rows(source, slice, first, n, rows.data());
      if (as_stored) {
        LM_TRY(sink(std::span(rows).first(size_t(n * per_row))));
        continue;
      }
      for (int64_t r = 0; r < n; ++r) {
        decode(source.stored, rows.data() + r * per_row, numbers.data(), source.cols);
        for (float& x : numbers) x += source.add;
        std::byte* to = encoded.data() + size_t(r) * encoded_row;
        if (type == DType::f32) {
          std::memcpy(to, numbers.data(), encoded_row);
        } else {
          encode(type, numbers, to);
        }
      }
      LM_TRY(sink(std::span(encoded).first(size_t(n) * encoded_row)));
    }
  }
  return ok();
}

}  // namespace lm::hf
