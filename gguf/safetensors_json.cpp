#include "gguf/safetensors_json.h"

#include <limits>
#include <optional>

#include "engine/core/checked.h"
#include "engine/core/json.h"
#include "engine/core/text.h"

namespace lm::safetensors {
namespace {

constexpr std::string_view kMetadataKey = "__metadata__";

// Refuses every event that a derived reader does not expect. Each method returns whether to go on.
class StrictReader : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return unexpected("a negative number"); }
  bool number_unsigned(number_unsigned_t) override { return unexpected("a number"); }
  bool number_float(number_float_t, const string_t&) override {
    return unexpected("a number that is not a 64-bit integer");
  }
  bool string(string_t&) override { return unexpected("a string"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }
  bool start_object(size_t) override { return unexpected("an object"); }
  bool start_array(size_t) override { return unexpected("an array"); }
  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    return fail(concat("expected JSON, found a mistake at byte ", position));
  }

  // Runs over `text`.
  Status read(std::string_view text) {
    if (Json::sax_parse(text, this)) return ok();
    return std::move(error_);
  }

 protected:
  virtual std::string where() const = 0;

  bool fail(std::string message, ErrorCode code = ErrorCode::bad_file) {
    error_ = Error{code, std::move(message)};
    return false;
  }
  bool unexpected(std::string_view found) {
    return fail(concat(where(), ": found ", found, " where there may be none"));
  }

 private:
  Error error_{ErrorCode::bad_file, "expected JSON"};
};

class HeaderReader : public StrictReader {
 public:
  explicit HeaderReader(std::span<const std::byte> data) : data_(data) {}
  Header take() { return std::move(header_); }

  bool start_object(size_t) override;
  bool end_object() override;
  bool key(string_t& name) override;
  bool string(string_t& text) override;
  bool start_array(size_t) override;
  bool end_array() override;
  bool number_unsigned(number_unsigned_t number) override;

 protected:
  std::string where() const override {
    if (place_ == Place::outside || place_ == Place::top) return "safetensors header";
    return in_metadata_ ? std::string(kMetadataKey) : concat("tensor ", printable(tensor_.name));
  }

 private:
  enum class Place { outside, top, entry, list };
  enum class Field { none, dtype, shape, offsets };

  bool start_field(std::string_view name);
  bool end_tensor();

  std::span<const std::byte> data_;
  Header header_;
  Place place_ = Place::outside;
  bool in_metadata_ = false;
  std::string metadata_key_;
  // The entry being read.
  TensorInfo tensor_{};
  Field field_ = Field::none;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  std::vector<uint64_t> offsets_;
};

bool HeaderReader::start_object(size_t) {
  if (place_ == Place::outside) {
    place_ = Place::top;
    return true;
  }
  if (place_ != Place::top) return unexpected("an object");
  place_ = Place::entry;
  return true;
}

bool HeaderReader::key(string_t& name) {
  if (place_ == Place::top) {
    in_metadata_ = name == kMetadataKey;
    if (in_metadata_) return true;
    if (name.empty()) return fail("expected every tensor to have a name, found an empty one");
    tensor_ = TensorInfo{};
    tensor_.name = std::move(name);
    field_ = Field::none;
    has_dtype_ = has_shape_ = has_offsets_ = false;
    offsets_.clear();
    return true;
  }
  if (!in_metadata_) return start_field(name);
  metadata_key_ = std::move(name);
  return true;
}

bool HeaderReader::start_field(std::string_view name) {
  bool* seen = nullptr;
  if (name == "dtype") {
    field_ = Field::dtype;
    seen = &has_dtype_;
  } else if (name == "shape") {
    field_ = Field::shape;
    seen = &has_shape_;
  } else if (name == "data_offsets") {
    field_ = Field::offsets;
    seen = &has_offsets_;
  } else {
    return fail(
        concat(where(), ": expected dtype, shape and data_offsets, found ", printable(name)));
  }
  if (*seen) return fail(concat(where(), ": ", name, " occurs twice"));
  *seen = true;
  return true;
}

bool HeaderReader::string(string_t& text) {
  if (place_ == Place::entry && in_metadata_) {
    if (header_.metadata.size() >= kMaxMetadataKeys) {
      return fail(concat(where(), ": expected at most ", kMaxMetadataKeys, " keys"));
    }
    const auto [at, is_new] = header_.metadata.try_emplace(metadata_key_, std::move(text));
    return is_new || fail(concat(where(), ": ", printable(at->first), " occurs twice"));
  }
  if (place_ != Place::entry || field_ != Field::dtype) return unexpected("a string");
  const auto type = element_type_from_name(text);
  if (!type) {
    return fail(concat(where(), ": expected a known dtype, found ", printable(text)),
                ErrorCode::unsupported);
  }
  tensor_.type = *type;
  return true;
}

bool HeaderReader::start_array(size_t) {
  const bool is_list = !in_metadata_ && (field_ == Field::shape || field_ == Field::offsets);
  if (place_ != Place::entry || !is_list) return unexpected("an array");
  place_ = Place::list;
  return true;
}

bool HeaderReader::end_array() {
  place_ = Place::entry;
  return true;
}

bool HeaderReader::number_unsigned(number_unsigned_t number) {
  if (place_ != Place::list) return unexpected("a number");
  if (number > uint64_t(std::numeric_limits<int64_t>::max())) {
    return fail(concat(where(), ": expected numbers below 2^63, found ", number));
  }
  if (field_ == Field::shape) {
    tensor_.shape.push_back(int64_t(number));
    return tensor_.shape.size() <= kMaxRank ||
           fail(concat(where(), ": expected at most ", kMaxRank, " dimensions"));
  }
  offsets_.push_back(number);
  return offsets_.size() <= 2 || fail(concat(where(), ": expected two data_offsets, found more"));
}

bool HeaderReader::end_object() {
  if (place_ == Place::top) {
    place_ = Place::outside;
    return true;
  }
  const bool good = in_metadata_ || end_tensor();
  place_ = Place::top;
  return good;
}

// All that the header says of a tensor must agree.
bool HeaderReader::end_tensor() {
  if (!has_dtype_ || !has_shape_ || offsets_.size() != 2) {
    return fail(concat(where(), ": expected dtype, shape and two data_offsets, found fewer"));
  }
  std::optional<uint64_t> length = uint64_t(element_bytes(tensor_.type));
  for (const int64_t dim : tensor_.shape) {
    length = length ? checked_mul(*length, uint64_t(dim)) : std::nullopt;
  }
  if (!length)
    return fail(concat(where(), ": expected fewer than 2^64 bytes, found a larger shape"));
  const uint64_t begin = offsets_[0];
  const uint64_t end = offsets_[1];
  if (begin > end || end > data_.size()) {
    return fail(concat(where(), ": expected data_offsets inside ", data_.size(),
                       " bytes of data, found ", begin, " to ", end, " (is the file cut short?)"));
  }
  if (end - begin != *length) {
    return fail(concat(where(), ": expected ", *length, " bytes for its shape and dtype, found ",
                       end - begin));
  }
  if (header_.tensors.size() >= kMaxTensors) {
    return fail(concat("expected at most ", kMaxTensors, " tensors"));
  }
  tensor_.bytes = data_.subspan(size_t(begin), size_t(end - begin));
  header_.tensors.push_back(std::move(tensor_));
  return true;
}

// A shard is opened beside its index: a name that leads elsewhere is refused.
bool is_plain_file_name(std::string_view name) {
  return name.ends_with(".safetensors") && name.size() <= 255 &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

class IndexReader : public StrictReader {
 public:
  std::vector<Shard> take() { return std::move(shards_); }
  bool has_weight_map() const { return has_weight_map_; }

  bool null() override { return skip("null"); }
  bool boolean(bool) override { return skip("a boolean"); }
  bool number_integer(number_integer_t) override { return skip("a number"); }
  bool number_unsigned(number_unsigned_t) override { return skip("a number"); }
  bool number_float(number_float_t, const string_t&) override { return skip("a number"); }
  bool start_object(size_t) override;
  bool end_object() override;
  bool start_array(size_t) override;
  bool end_array() override;
  bool key(string_t& name) override;
  bool string(string_t& file_name) override;

 protected:
  std::string where() const override { return "safetensors index"; }

 private:
  static constexpr int kMaxDepth = 16;

  // Inside weight_map, or at its value: whatever stands elsewhere is passed over.
  bool in_map() const { return map_is_next_ || map_depth_ != 0; }
  bool skip(std::string_view found) { return (!in_map() && depth_ > 0) || unexpected(found); }
  bool enter() {
    return ++depth_ <= kMaxDepth ||
           fail(concat(where(), ": expected JSON nested at most ", kMaxDepth, " deep"));
  }

  std::vector<Shard> shards_;
  std::map<std::string, size_t, std::less<>> shard_number_;  // by file name
  size_t n_tensors_ = 0;
  int depth_ = 0;
  int map_depth_ = 0;  // depth inside weight_map; 0 outside
  bool map_is_next_ = false;
  bool has_weight_map_ = false;
  std::string tensor_;
};

bool IndexReader::start_object(size_t) {
  if (map_depth_ != 0) return unexpected("an object");
  if (!enter()) return false;
  if (map_is_next_) {
    map_depth_ = depth_;
    map_is_next_ = false;
  }
  return true;
}

bool IndexReader::end_object() {
  if (map_depth_ == depth_) map_depth_ = 0;
  --depth_;
  return true;
}

bool IndexReader::start_array(size_t) {
  return skip("an array") && enter();
}

bool IndexReader::end_array() {
  --depth_;
  return true;
}

bool IndexReader::key(string_t& name) {
  if (map_depth_ != 0) {
    tensor_ = std::move(name);
    return true;
  }
  if (depth_ == 1 && name == "weight_map") {
    if (has_weight_map_) return fail(concat(where(), ": weight_map occurs twice"));
    has_weight_map_ = map_is_next_ = true;
  }
  return true;
}

bool IndexReader::string(string_t& file_name) {
  if (map_depth_ == 0) return skip("a string");
  if (!is_plain_file_name(file_name)) {
    return fail(concat(where(),
                       ": expected the name of a .safetensors file in the same folder for ",
                       printable(tensor_), ", found ", printable(file_name)));
  }
  if (++n_tensors_ > kMaxTensors) {
    return fail(concat(where(), ": expected at most ", kMaxTensors, " tensors"));
  }
  const auto [at, is_new] = shard_number_.try_emplace(file_name, shards_.size());
  if (is_new) {
    if (shards_.size() >= kMaxShards) {
      return fail(concat(where(), ": expected at most ", kMaxShards, " shards"));
    }
    shards_.push_back(Shard{std::move(file_name), {}});
  }
  shards_[at->second].tensors.push_back(std::move(tensor_));
  return true;
}

}  // namespace

Result<Header> parse_header(std::string_view text, std::span<const std::byte> data) {
  HeaderReader reader(data);
  LM_TRY(reader.read(text));
  return reader.take();
}

Result<std::vector<Shard>> parse_index(std::string_view text) {
  IndexReader reader;
  LM_TRY(reader.read(text));
  if (!reader.has_weight_map()) {
    return Error{ErrorCode::bad_file, "safetensors index: expected a weight_map, found none"};
  }
  return reader.take();
}

}  // namespace lm::safetensors
