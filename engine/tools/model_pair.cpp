#include "engine/tools/model_pair.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/core/text.h"
#include "engine/tools/rewrite.h"
#include "gguf/writer.h"

namespace lm {
namespace {

constexpr std::string_view kLayer = "blk.";

// "blk.7.attn_q.weight" is (7, "attn_q.weight").
std::optional<std::pair<int, std::string_view>> layer_part(std::string_view name) {
  if (!name.starts_with(kLayer)) return std::nullopt;
  name.remove_prefix(kLayer.size());
  int layer = 0;
  size_t digits = 0;
  for (; digits < name.size() && name[digits] >= '0' && name[digits] <= '9'; ++digits) {
    if (layer > 1 << 20) return std::nullopt;
    layer = 10 * layer + (name[digits] - '0');
  }
  if (digits == 0 || digits == name.size() || name[digits] != '.') return std::nullopt;
  return std::pair(layer, name.substr(digits + 1));
}

Result<MemoryFile> stream(const gguf::Writer& writer, const gguf::Writer::Fill& fill) {
  MemoryFile file = LM_TRY(MemoryFile::create());
  LM_TRY(writer.stream([&](std::span<const std::byte> bytes) { return file.write(bytes); }, fill));
  return file;
}

// What the layer adds to the residual stream goes through these.
bool is_last_of_block(std::string_view part) {
  return part.starts_with("attn_output.") || part.starts_with("ffn_down.");
}

struct Source {
  const gguf::TensorInfo* tensor;
  bool zero;
};

Status fill_zeros(size_t n, const gguf::Writer::Sink& sink) {
  const std::vector<std::byte> zeros(std::min<size_t>(n, size_t{1} << 20));
  for (; n > 0; n -= std::min(n, zeros.size())) {
    LM_TRY(sink(std::span(zeros).first(std::min(n, zeros.size()))));
  }
  return ok();
}

}  // namespace

Result<MemoryFile> deepen(const gguf::File& file, int times) {
  const std::string blocks_key = concat(LM_TRY(file.str("general.architecture")), ".block_count");
  const uint32_t n_layers = LM_TRY(file.u32(blocks_key));
  const uint64_t deep = uint64_t(n_layers) * uint64_t(times);
  if (times < 1 || deep > 4096) {
    return Error{ErrorCode::unsupported, concat("expected at most 4096 layers, found ", deep)};
  }
  gguf::Writer writer;
  copy_metadata(file, writer);
  writer.set_u32(blocks_key, uint32_t(deep));
  std::vector<Source> sources;
  for (const gguf::TensorInfo& tensor : file.tensors()) {
    LM_TRY(writer.add_tensor(tensor.name, tensor.dtype, dims_of(tensor)));
    sources.push_back({&tensor, false});
    const auto part = layer_part(tensor.name);
    if (!part) continue;
    if (part->second.find("_exps") != std::string_view::npos) {
      return Error{ErrorCode::unsupported, "expected dense layers, found experts"};
    }
    // In every number format all bits 0 is the number 0.
    for (uint64_t copy = uint64_t(part->first) + n_layers; copy < deep; copy += n_layers) {
      LM_TRY(writer.add_tensor(concat(kLayer, copy, ".", part->second), tensor.dtype,
                               dims_of(tensor)));
      sources.push_back({&tensor, is_last_of_block(part->second)});
    }
  }
  return stream(writer, [&](size_t index, const gguf::Writer::Sink& sink) -> Status {
    const Source& source = sources[index];
    if (source.zero) return fill_zeros(source.tensor->bytes.size(), sink);
    return sink(source.tensor->bytes);
  });
}

Result<MemoryFile> shuffle(const gguf::File& file, uint64_t seed) {
  gguf::Writer writer;
  copy_metadata(file, writer);
  for (const gguf::TensorInfo& tensor : file.tensors()) {
    LM_TRY(writer.add_tensor(tensor.name, tensor.dtype, dims_of(tensor)));
  }
  return stream(writer, [&](size_t index, const gguf::Writer::Sink& sink) -> Status {
    const gguf::TensorInfo& tensor = file.tensors()[index];
    if (tensor.n_dims < 2) return sink(tensor.bytes);
    const size_t stride = size_t(row_bytes(tensor.dtype, tensor.dims[0]));
    std::vector<size_t> rows(tensor.bytes.size() / stride);
    std::iota(rows.begin(), rows.end(), size_t{0});
    // Fisher and Yates, with a linear congruential generator (Knuth's MMIX constants).
    uint64_t state = seed + index;
    for (size_t i = rows.size(); i > 1; --i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      std::swap(rows[i - 1], rows[size_t(state >> 33) % i]);
    }
    for (const size_t row : rows) LM_TRY(sink(tensor.bytes.subspan(row * stride, stride)));
    return ok();
  });
}

}  // namespace lm
