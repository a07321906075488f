#include "gguf/parse.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>

#include "engine/core/checked.h"
#include "engine/core/text.h"
#include "engine/core/utf8.h"
#include "gguf/cursor.h"
#include "gguf/sniff.h"

namespace lm::gguf {
namespace {

// The least that one item takes in a file: a count is compared with what remains before anything
// is reserved for it.
constexpr uint64_t kMinKeyBytes = 8 + 1 + 4 + 1;         // name, type, value
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 4 + 8;  // name, n_dims, type, offset
constexpr uint64_t kMinStringBytes = 8;                  // length
constexpr uint64_t kMinArrayBytes = 4 + 8;               // element type, count

struct Header {
  uint64_t n_tensors;
  uint64_t n_keys;
};

// Reads one file from front to back. Methods are in the order of the file's sections.
class Parser {
 public:
  explicit Parser(std::span<const std::byte> bytes) : bytes_(bytes), in_(bytes) {}

  Result<Part> run() {
    const Header header = LM_TRY(read_header());
    LM_TRY(read_metadata(header.n_keys));
    LM_TRY(find_alignment());
    LM_TRY(read_tensor_infos(header.n_tensors));
    LM_TRY(check_own_types());
    LM_TRY(place_tensors());
    return std::move(part_);
  }

 private:
  Result<Header> read_header();
  Status read_metadata(uint64_t n_keys);
  Result<Value> read_value(ValueType type, int depth);
  Result<Value> read_array(int depth);
  Status skip_elements(ValueType type, uint64_t count, int depth);
  Status find_alignment();
  Status read_tensor_infos(uint64_t n_tensors);
  Result<TensorInfo> read_tensor_info();
  Status read_shape(TensorInfo& info);
  Status check_own_types() const;
  Status place_tensors();
  Status check_overlaps() const;

  Result<std::string_view> read_name(std::string_view kind);
  Error bad(const std::string& message) const { return Error{ErrorCode::bad_file, message}; }
  Error cut(std::string_view expected) const {
    return bad(concat("expected ", expected, " at byte ", in_.at(), ", found the end of the file (",
                      bytes_.size(), " bytes)"));
  }

  std::span<const std::byte> bytes_;
  Cursor in_;
  Part part_;
  std::vector<uint64_t> offsets_;  // of part_.tensors, from the start of the tensor data
  uint64_t data_start_ = 0;
};

Result<Header> Parser::read_header() {
  const auto magic = in_.take(4);
  const std::string_view expected_magic = "GGUF";
  if (!magic || std::memcmp(magic->data(), expected_magic.data(), 4) != 0) {
    return bad(concat("expected a GGUF file, found ", describe_other_file(bytes_)));
  }
  const auto version = in_.number<uint32_t>();
  if (!version) return cut("a version");
  if ((*version & 0xFFFF) == 0 && *version != 0) {
    return bad("expected a little-endian GGUF file, found a big-endian one");
  }
  if (*version != 2 && *version != 3) {
    return Error{ErrorCode::unsupported,
                 concat("expected GGUF version 2 or 3, found version ", *version)};
  }
  part_.version = *version;
  const auto n_tensors = in_.number<uint64_t>();
  const auto n_keys = n_tensors ? in_.number<uint64_t>() : std::nullopt;
  if (!n_keys) return cut("the numbers of tensors and metadata keys");
  if (*n_tensors > std::min(kMaxTensors, in_.remaining() / kMinTensorBytes)) {
    return bad(concat("expected at most ", kMaxTensors, " tensors that fit in ", bytes_.size(),
                      " bytes, found a count of ", *n_tensors));
  }
  if (*n_keys > std::min(kMaxKeys, in_.remaining() / kMinKeyBytes)) {
    return bad(concat("expected at most ", kMaxKeys, " metadata keys that fit in ", bytes_.size(),
                      " bytes, found a count of ", *n_keys));
  }
  return Header{*n_tensors, *n_keys};
}

Result<std::string_view> Parser::read_name(std::string_view kind) {
  const auto name = in_.string();
  if (!name) return cut(concat("the name of a ", kind));
  if (name->empty() || name->size() > kMaxNameBytes || !utf8::is_valid(*name)) {
    return bad(concat("expected the name of a ", kind, " to be 1 to ", kMaxNameBytes,
                      " bytes of UTF-8, found ", name->size(), " bytes '", printable(*name),
                      "' before byte ", in_.at()));
  }
  return *name;
}

Status Parser::read_metadata(uint64_t n_keys) {
  part_.keys.reserve(n_keys);
  part_.values.reserve(n_keys);
  for (uint64_t i = 0; i < n_keys; ++i) {
    const std::string_view key = LM_TRY(read_name("metadata key"));
    const auto id = in_.number<uint32_t>();
    if (!id) return cut(concat("the type of ", printable(key)));
    const auto type = value_type_from_id(*id);
    if (!type) {
      return bad(concat(printable(key), ": expected a value type from 0 to 12, found ", *id));
    }
    Result<Value> value = read_value(*type, 0);
    if (!value.ok()) return std::move(value).error().within(printable(key));
    part_.keys.push_back(key);
    part_.values.push_back(value.value());
  }
  const auto name_of = [&](uint32_t i) { return part_.keys[i]; };
  const auto twice = part_.key_index.build(part_.keys.size(), name_of);
  if (twice) return bad(concat("metadata key ", printable(part_.keys[*twice]), " occurs twice"));
  return ok();
}

Result<Value> Parser::read_value(ValueType type, int depth) {
  if (type == ValueType::array) return read_array(depth);
  const uint64_t start = in_.at();
  LM_TRY(skip_elements(type, 1, depth));
  return Value{type, type, 1, bytes_.subspan(start, in_.at() - start)};
}

Result<Value> Parser::read_array(int depth) {
  if (depth >= kMaxArrayDepth) {
    return bad(concat("expected arrays nested at most ", kMaxArrayDepth, " deep"));
  }
  const auto id = in_.number<uint32_t>();
  const auto count = id ? in_.number<uint64_t>() : std::nullopt;
  if (!count) return cut("an array's element type and count");
  const auto type = value_type_from_id(*id);
  if (!type) return bad(concat("expected an element type from 0 to 12, found ", *id));
  const uint64_t start = in_.at();
  LM_TRY(skip_elements(*type, *count, depth));
  return Value{ValueType::array, *type, *count, bytes_.subspan(start, in_.at() - start)};
}

Status Parser::skip_elements(ValueType type, uint64_t count, int depth) {
  const uint64_t least = type == ValueType::string  ? kMinStringBytes
                         : type == ValueType::array ? kMinArrayBytes
                                                    : value_type_bytes(type);
  if (count > in_.remaining() / least) {
    return cut(
        concat(count, count == 1 ? " value" : " values", " of type ", value_type_name(type)));
  }
  if (type == ValueType::string) {
    for (uint64_t i = 0; i < count; ++i) {
      if (!in_.string()) return cut("a string of the length given there");
    }
  } else if (type == ValueType::array) {
    for (uint64_t i = 0; i < count; ++i) LM_TRY(read_array(depth + 1));
  } else {
    const auto elements = in_.take(count * least);
    if (type == ValueType::boolean) {
      for (const std::byte b : *elements) {
        if (uint8_t(b) > 1) return bad(concat("expected a boolean of 0 or 1, found ", int(b)));
      }
    }
  }
  return ok();
}

Status Parser::find_alignment() {
  const Value* value = part_.value(kAlignmentKey);
  if (value == nullptr) return ok();
  const auto n = as_integer(value->type, value->bytes.data());
  if (!n || value->type == ValueType::boolean) {
    return bad(concat(kAlignmentKey, ": expected an integer, found a value of type ",
                      value_type_name(value->type)));
  }
  if (*n < 0 || !valid_alignment(uint64_t(*n))) {
    return bad(concat(kAlignmentKey, ": expected a power of two from 8 to ", kMaxAlignment,
                      ", found ", *n));
  }
  part_.alignment = uint32_t(*n);
  return ok();
}

Status Parser::read_tensor_infos(uint64_t n_tensors) {
  part_.tensors.reserve(n_tensors);
  offsets_.reserve(n_tensors);
  for (uint64_t i = 0; i < n_tensors; ++i) part_.tensors.push_back(LM_TRY(read_tensor_info()));
  return ok();
}

Result<TensorInfo> Parser::read_tensor_info() {
  TensorInfo info{};
  info.name = LM_TRY(read_name("tensor"));
  Status shape = read_shape(info);
  if (!shape.ok()) return std::move(shape).error().within(concat("tensor ", printable(info.name)));
  const auto offset = in_.number<uint64_t>();
  if (!offset) return cut(concat("the offset of tensor ", printable(info.name)));
  if (*offset % part_.alignment != 0) {
    return bad(concat("tensor ", printable(info.name),
                      ": expected an offset that is a multiple of ", part_.alignment, ", found ",
                      *offset));
  }
  offsets_.push_back(*offset);
  return info;
}

Status Parser::read_shape(TensorInfo& info) {
  const auto n_dims = in_.number<uint32_t>();
  if (!n_dims) return cut("a number of dimensions");
  if (*n_dims > uint32_t(kMaxDims)) {
    return bad(concat("expected at most ", kMaxDims, " dimensions, found ", *n_dims));
  }
  info.n_dims = std::max(1, int(*n_dims));
  info.dims.fill(1);
  for (uint32_t i = 0; i < *n_dims; ++i) {
    const auto dim = in_.number<uint64_t>();
    if (!dim) return cut("a dimension");
    if (*dim > uint64_t(std::numeric_limits<int64_t>::max())) {
      return bad(concat("expected a dimension below 2^63, found ", *dim));
    }
    info.dims[i] = int64_t(*dim);
  }
  const auto id = in_.number<uint32_t>();
  if (!id) return cut("a tensor type");
  const auto dtype = dtype_from_gguf_id(*id);
  if (!dtype) {
    return Error{ErrorCode::unsupported,
                 concat("expected a known tensor type, found number ", *id)};
  }
  info.dtype = *dtype;
  const uint64_t length =
      LM_TRY(tensor_bytes(*dtype, std::span(info.dims).first(size_t(info.n_dims))));
  if (length > bytes_.size()) {
    return bad(concat("expected it inside the file of ", bytes_.size(),
                      " bytes, found a length of ", length));
  }
  info.bytes = bytes_.first(length);  // the right length; place_tensors() moves it
  return ok();
}

// Numbers that another program may have given to a type of its own count only beside our key.
Status Parser::check_own_types() const {
  const auto own = std::ranges::find_if(part_.tensors,
                                        [](const TensorInfo& info) { return is_i4g(info.dtype); });
  if (own == part_.tensors.end()) return ok();
  const Value* value = part_.value(kI4gVersionKey);
  const auto version = value != nullptr ? as_integer(value->type, value->bytes.data()) : 0;
  if (version == kI4gVersion) return ok();
  return Error{ErrorCode::unsupported,
               concat("tensor ", printable(own->name), ": expected ", kI4gVersionKey, " ",
                      kI4gVersion, " beside type ", dtype_name(own->dtype), ", found ",
                      value == nullptr ? "none" : "another")};
}

Status Parser::place_tensors() {
  if (part_.tensors.empty()) return ok();
  const auto start = checked_align(in_.at(), part_.alignment);
  if (!start || *start > bytes_.size()) return cut("padding and tensor data");
  data_start_ = *start;
  const uint64_t data_bytes = bytes_.size() - data_start_;
  for (size_t i = 0; i < part_.tensors.size(); ++i) {
    TensorInfo& info = part_.tensors[i];
    const auto end = checked_add(offsets_[i], info.bytes.size());
    if (!end || *end > data_bytes) {
      return bad(concat("tensor ", printable(info.name), ": expected it inside the ", data_bytes,
                        " bytes of tensor data, found offset ", offsets_[i], " and length ",
                        info.bytes.size(), " (is the file cut short?)"));
    }
    info.bytes = bytes_.subspan(data_start_ + offsets_[i], info.bytes.size());
  }
  return check_overlaps();
}

// Tensors that shared bytes would let a small file stand for any amount of weights.
Status Parser::check_overlaps() const {
  std::vector<uint32_t> order(offsets_.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return offsets_[a] < offsets_[b]; });
  for (size_t i = 1; i < order.size(); ++i) {
    const TensorInfo& before = part_.tensors[order[i - 1]];
    const TensorInfo& after = part_.tensors[order[i]];
    if (after.bytes.data() < before.bytes.data() + before.bytes.size()) {
      return bad(
          concat("tensors ", printable(before.name), " and ", printable(after.name), " overlap"));
    }
  }
  return ok();
}

}  // namespace

Result<Part> parse_part(std::span<const std::byte> bytes) {
  return Parser(bytes).run();
}

Result<uint64_t> tensor_bytes(DType dtype, std::span<const int64_t> dims) {
  const DTypeInfo& format = dtype_info(dtype);
  uint64_t elements = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] < 1) {
      return Error{ErrorCode::bad_file,
                   concat("expected dimension ", i, " to be at least 1, found ", dims[i])};
    }
    const auto product = checked_mul(elements, uint64_t(dims[i]));
    if (!product || *product > uint64_t(std::numeric_limits<int64_t>::max())) {
      return Error{ErrorCode::bad_file,
                   "expected fewer than 2^63 elements, found dimensions with a "
                   "larger product"};
    }
    elements = *product;
  }
  if (dims.empty() || dims[0] % format.block_elems != 0) {
    return Error{ErrorCode::bad_file,
                 concat("expected rows of a multiple of ", format.block_elems, " elements in ",
                        format.name, ", found ", dims.empty() ? 0 : dims[0])};
  }
  const auto length =
      checked_mul(elements / uint64_t(format.block_elems), uint64_t(format.block_bytes));
  if (!length || *length > uint64_t(std::numeric_limits<int64_t>::max())) {
    return Error{ErrorCode::bad_file, "expected fewer than 2^63 bytes, found a larger tensor"};
  }
  return *length;
}

std::optional<int64_t> as_integer(ValueType type, const std::byte* at) {
  switch (type) {
    case ValueType::u8:
      return load<uint8_t>(at);
    case ValueType::i8:
      return load<int8_t>(at);
    case ValueType::u16:
      return load<uint16_t>(at);
    case ValueType::i16:
      return load<int16_t>(at);
    case ValueType::u32:
      return load<uint32_t>(at);
    case ValueType::i32:
      return load<int32_t>(at);
    case ValueType::i64:
      return load<int64_t>(at);
    case ValueType::u64: {
      const auto n = load<uint64_t>(at);
      if (n > uint64_t(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return int64_t(n);
    }
    case ValueType::boolean:
      return load<uint8_t>(at);
    default:
      return std::nullopt;
  }
}

}  // namespace lm::gguf
