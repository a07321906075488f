#include "engine/tools/inspect.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string>

#include "engine/core/text.h"
#include "engine/model/model.h"
#include "engine/runtime/instance.h"
#include "gguf/cursor.h"

namespace lm {
namespace {

using gguf::Cursor;
using gguf::ValueType;

constexpr int kMaxNesting = 4;        // deeper arrays are only named
constexpr size_t kMaxText = 1 << 20;  // bytes of one string that are shown

template <class T>
Json number_json(Cursor& cursor) {
  const std::optional<T> number = cursor.number<T>();
  if (!number) return nullptr;
  if constexpr (std::is_floating_point_v<T>) {
    if (!std::isfinite(*number)) return std::isnan(*number) ? "nan" : *number > 0 ? "inf" : "-inf";
  }
  if constexpr (std::is_same_v<T, float>) {  // 1e-5, not the double 9.99999974737875e-06
    std::array<char, 32> digits;
    const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), *number);
    return *parse_double({digits.data(), end});
  }
  return *number;
}

Json array_json(Cursor& cursor, ValueType element, uint64_t count, size_t max_elements,
                int nesting);

// The value of this type at the cursor; null where the bytes end early.
Json value_json(Cursor& cursor, ValueType type, size_t max_elements, int nesting) {
  switch (type) {
    case ValueType::u8:
      return number_json<uint8_t>(cursor);
    case ValueType::i8:
      return number_json<int8_t>(cursor);
    case ValueType::u16:
      return number_json<uint16_t>(cursor);
    case ValueType::i16:
      return number_json<int16_t>(cursor);
    case ValueType::u32:
      return number_json<uint32_t>(cursor);
    case ValueType::i32:
      return number_json<int32_t>(cursor);
    case ValueType::u64:
      return number_json<uint64_t>(cursor);
    case ValueType::i64:
      return number_json<int64_t>(cursor);
    case ValueType::f32:
      return number_json<float>(cursor);
    case ValueType::f64:
      return number_json<double>(cursor);
    case ValueType::boolean: {
      const std::optional<uint8_t> flag = cursor.number<uint8_t>();
      return flag ? Json(*flag != 0) : Json();
    }
    case ValueType::string: {
      const std::optional<std::string_view> text = cursor.string();
      return text ? Json(text->substr(0, kMaxText)) : Json();
    }
    case ValueType::array: {
      const std::optional<uint32_t> element = cursor.number<uint32_t>();
      const std::optional<uint64_t> count = cursor.number<uint64_t>();
      const auto known = element ? gguf::value_type_from_id(*element) : std::nullopt;
      if (!known || !count) return nullptr;
      return array_json(cursor, *known, *count, max_elements, nesting + 1);
    }
  }
  return nullptr;
}

Json array_json(Cursor& cursor, ValueType element, uint64_t count, size_t max_elements,
                int nesting) {
  Json elements = Json::array();
  const uint64_t shown = nesting > kMaxNesting ? 0 : std::min<uint64_t>(count, max_elements);
  for (uint64_t i = 0; i < shown && cursor.remaining() > 0; ++i) {
    elements.push_back(value_json(cursor, element, max_elements, nesting));
    // What follows a shortened inner array can't be found without reading it all.
    if (elements.back().is_object()) break;
  }
  if (elements.size() == count) return elements;
  return {
      {"array", gguf::value_type_name(element)}, {"count", count}, {"first", std::move(elements)}};
}

std::vector<TypeTotal> type_totals(const gguf::File& file) {
  std::vector<TypeTotal> totals;
  for (const gguf::TensorInfo& tensor : file.tensors()) {
    auto total = std::find_if(totals.begin(), totals.end(),
                              [&](const TypeTotal& t) { return t.type == tensor.dtype; });
    if (total == totals.end()) total = totals.insert(totals.end(), TypeTotal{.type = tensor.dtype});
    uint64_t n_elements = 1;  // fits: the tensor's bytes were found in the file
    for (const int64_t dim : tensor.dims) n_elements *= uint64_t(dim);
    ++total->n_tensors;
    total->n_elements += n_elements;
    total->bytes += tensor.bytes.size();
  }
  std::sort(totals.begin(), totals.end(),
            [](const TypeTotal& a, const TypeTotal& b) { return a.bytes > b.bytes; });
  return totals;
}

// Bytes of the KV cache of one sequence of n_ctx tokens.
Result<uint64_t> kv_bytes(const ModelConfig& config, int n_ctx, DType kv_dtype) {
  InstanceOptions options;
  options.n_ctx = std::max(n_ctx, 1);
  options.kv_dtype = kv_dtype;
  Result<uint64_t> bytes = plan_kv_bytes(config, options);
  if (bytes.ok() || bytes.error().code != ErrorCode::unsupported) return bytes;
  return Error{ErrorCode::bad_request, bytes.error().message};  // another type would do
}

Result<DraftSummary> inspect_draft(const std::filesystem::path& path, int n_ctx, DType kv_dtype) {
  const gguf::File file = LM_TRY(gguf::File::open(path));
  const ModelConfig config = LM_TRY(read_config(file));
  DraftSummary draft{.path = path};
  for (const TypeTotal& total : type_totals(file)) draft.weight_bytes += total.bytes;
  draft.kv_bytes = LM_TRY(kv_bytes(config, n_ctx, kv_dtype));
  return draft;
}

}  // namespace

Json metadata_json(const gguf::Value& value, size_t max_elements) {
  Cursor cursor(value.bytes);
  if (value.type == ValueType::array) {
    return array_json(cursor, value.element_type, value.count, max_elements, 1);
  }
  return value_json(cursor, value.type, max_elements, 0);
}

Result<Inspection> inspect(const std::filesystem::path& path, const InspectOptions& options) {
  Inspection found{.file = LM_TRY(gguf::File::open(path))};
  found.types = type_totals(found.file);
  Result<ModelConfig> config = read_config(found.file);
  if (!config.ok()) {
    found.not_runnable = config.error().message;
    return found;
  }
  ModelSummary model{.config = std::move(config).value(), .kv_dtype = options.kv_dtype};
  model.n_ctx = options.n_ctx > 0 ? options.n_ctx : model.config.n_ctx_train;
  for (const TypeTotal& total : found.types) model.weight_bytes += total.bytes;
  model.kv_bytes = LM_TRY(kv_bytes(model.config, model.n_ctx, options.kv_dtype));
  if (options.draft) {
    model.draft = LM_TRY(inspect_draft(*options.draft, model.n_ctx, options.kv_dtype));
  }
  found.model = std::move(model);
  return found;
}

}  // namespace lm
