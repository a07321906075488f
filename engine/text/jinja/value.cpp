#include "engine/text/jinja/value.h"

#include <algorithm>
#include <cmath>

#include "engine/core/text.h"
#include "engine/core/utf8.h"
#include "engine/text/jinja/loop.h"

namespace lm::jinja {

Error template_error(std::string message) {
  return Error{ErrorCode::bad_file, std::move(message)};
}

Status Meter::step(uint64_t n) {
  if (n > steps_) {
    steps_ = 0;
    return template_error(
        "expected a template that ends soon, found one that takes too many steps");
  }
  steps_ -= n;
  return ok();
}

Status Meter::memory(uint64_t bytes) {
  if (bytes > bytes_) {
    bytes_ = 0;
    return template_error(
        "expected a template that makes little text, found one that makes too much");
  }
  bytes_ -= bytes;
  return step(bytes / 64);
}

Value Value::undefined(std::string reason) {
  return Value(std::make_shared<const std::string>(std::move(reason)));
}

Value Value::text(Text text) {
  return Value(std::make_shared<const Text>(std::move(text)));
}

Value Value::text(std::string_view bytes, Text::Origin origin) {
  return text(Text(std::string(bytes), origin));
}

std::string_view Value::reason() const {
  const Reason& reason = std::get<Reason>(data_);
  return reason ? std::string_view(*reason) : "a value is undefined";
}

int64_t Value::as_integer() const {
  return is(Kind::boolean) ? int64_t(std::get<bool>(data_)) : std::get<int64_t>(data_);
}

double Value::as_real() const {
  return is(Kind::real) ? std::get<double>(data_) : double(as_integer());
}

const Text& Value::as_text() const {
  return *std::get<StringRef>(data_);
}

const std::vector<Value>& Value::items() const {
  return std::get<ListRef>(data_)->items;
}

bool Value::is_tuple() const {
  return is(Kind::list) && std::get<ListRef>(data_)->tuple;
}

const Dict& Value::as_dict() const {
  return *std::get<DictRef>(data_);
}

bool Value::truth() const {
  switch (kind()) {
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
    case Kind::integer:
      return as_integer() != 0;
    case Kind::real:
      return as_real() != 0;
    case Kind::string:
      return !as_text().empty();
    case Kind::list:
      return !items().empty();
    case Kind::dict:
      return !as_dict().entries.empty();
    case Kind::name_space:
    case Kind::function:
    case Kind::loop:
      return true;
  }
  return false;
}

int Value::depth() const {
  switch (kind()) {
    case Kind::list:
      return std::get<ListRef>(data_)->depth;
    case Kind::dict:
      return as_dict().depth;
    case Kind::function:
      return as_function().self.depth() + 1;
    case Kind::loop:
      return as_loop()->nesting;
    default:
      return 0;
  }
}

bool Value::same_object(const Value& other) const {
  if (kind() != other.kind()) return false;
  switch (kind()) {
    case Kind::string:
      return std::get<StringRef>(data_) == std::get<StringRef>(other.data_);
    case Kind::list:
      return std::get<ListRef>(data_) == std::get<ListRef>(other.data_);
    case Kind::dict:
      return std::get<DictRef>(data_) == std::get<DictRef>(other.data_);
    case Kind::name_space:
      return &as_namespace() == &other.as_namespace();
    case Kind::function:
      return std::get<FunctionRef>(data_) == std::get<FunctionRef>(other.data_);
    case Kind::loop:
      return as_loop() == other.as_loop();
    case Kind::none:
      return true;
    case Kind::boolean:
    case Kind::integer:
      return as_integer() == other.as_integer();
    case Kind::real:
      return as_real() == other.as_real();
    case Kind::undefined:
      return false;
  }
  return false;
}

namespace {

Status check_depth(int depth) {
  if (depth <= kMaxNesting) return ok();
  return template_error(concat("expected values nested at most ", kMaxNesting, " deep"));
}

}  // namespace

Result<Value> make_list(Meter& meter, std::vector<Value> items, bool tuple) {
  LM_TRY(meter.memory(sizeof(List) + items.size() * sizeof(Value)));
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  LM_TRY(check_depth(depth + 1));
  return Value::of(std::make_shared<const List>(List{std::move(items), tuple, depth + 1}));
}

Result<Value> make_dict(Meter& meter, std::vector<std::pair<Value, Value>> entries) {
  LM_TRY(meter.memory(sizeof(Dict) + entries.size() * 2 * sizeof(Value)));
  int depth = 0;
  for (const auto& [key, value] : entries) depth = std::max({depth, key.depth(), value.depth()});
  LM_TRY(check_depth(depth + 1));
  return Value::of(std::make_shared<const Dict>(Dict{std::move(entries), depth + 1}));
}

namespace {

Status check_key(const Value& key) {
  if (!key.is(Kind::dict) && (!key.is(Kind::list) || key.is_tuple())) return ok();
  return template_error(concat("expected a key, found ", kind_name(key)));
}

}  // namespace

Status put(Meter& meter, std::vector<std::pair<Value, Value>>& entries, Value key, Value value) {
  LM_TRY(check_key(key));
  for (auto& entry : entries) {
    if (!LM_TRY(equal(meter, entry.first, key))) continue;
    entry.second = std::move(value);
    return ok();
  }
  entries.emplace_back(std::move(key), std::move(value));
  return ok();
}

Status TextBuilder::append(std::string_view bytes, Text::Origin origin) {
  LM_TRY(meter_->memory(bytes.size()));
  text_.append(bytes, origin);
  return ok();
}

Status TextBuilder::append(const Text& text, size_t begin, size_t end) {
  LM_TRY(meter_->memory(end - begin + text.cost() - text.size()));
  text_.append(text, begin, end);
  return ok();
}

std::string_view kind_name(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return "nothing";
    case Kind::none:
      return "none";
    case Kind::boolean:
      return "a boolean";
    case Kind::integer:
      return "an integer";
    case Kind::real:
      return "a number";
    case Kind::string:
      return "a string";
    case Kind::list:
      return value.is_tuple() ? "a tuple" : "a list";
    case Kind::dict:
      return "a dictionary";
    case Kind::name_space:
      return "a namespace";
    case Kind::function:
      return "a function";
    case Kind::loop:
      return "a loop";
  }
  return "nothing";
}

namespace {

Result<bool> equal_dicts(Meter& meter, const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* other = LM_TRY(find(meter, b, key));
    if (other == nullptr || !LM_TRY(equal(meter, value, *other))) return false;
  }
  return true;
}

Result<bool> equal_lists(Meter& meter, const Value& a, const Value& b) {
  if (a.is_tuple() != b.is_tuple() || a.items().size() != b.items().size()) return false;
  for (size_t i = 0; i < a.items().size(); ++i) {
    if (!LM_TRY(equal(meter, a.items()[i], b.items()[i]))) return false;
  }
  return true;
}

}  // namespace

Result<bool> equal(Meter& meter, const Value& a, const Value& b) {
  LM_TRY(meter.step());
  if (a.is_number() && b.is_number()) {
    if (a.is_whole() && b.is_whole()) return a.as_integer() == b.as_integer();
    return a.as_real() == b.as_real();
  }
  if (a.kind() != b.kind()) return false;
  if (a.is_undefined() || a.same_object(b)) return true;
  if (a.is_string()) {
    LM_TRY(meter.step(std::min(a.bytes().size(), b.bytes().size()) / 64));
    return a.bytes() == b.bytes();
  }
  if (a.is(Kind::list)) return equal_lists(meter, a, b);
  if (a.is(Kind::dict)) return equal_dicts(meter, a.as_dict(), b.as_dict());
  return false;
}

Result<bool> less(Meter& meter, const Value& a, const Value& b) {
  LM_TRY(meter.step());
  if (a.is_number() && b.is_number()) {
    if (a.is_whole() && b.is_whole()) return a.as_integer() < b.as_integer();
    return a.as_real() < b.as_real();
  }
  if (a.is_string() && b.is_string()) {
    LM_TRY(meter.step(std::min(a.bytes().size(), b.bytes().size()) / 64));
    return a.bytes() < b.bytes();  // UTF-8 sorts as its code points do
  }
  if (a.is(Kind::list) && b.is(Kind::list) && a.is_tuple() == b.is_tuple()) {
    const std::vector<Value>&x = a.items(), &y = b.items();
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!LM_TRY(equal(meter, x[i], y[i]))) return less(meter, x[i], y[i]);
    }
    return x.size() < y.size();
  }
  if (a.is_undefined()) return template_error(std::string(a.reason()));
  if (b.is_undefined()) return template_error(std::string(b.reason()));
  return template_error(concat("cannot order ", kind_name(a), " and ", kind_name(b)));
}

Result<bool> contains(Meter& meter, const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      return template_error(
          concat("expected a string to look for in a string, found ", kind_name(item)));
    }
    LM_TRY(meter.step(container.bytes().size() / 16 * (1 + item.bytes().size() / 256)));
    return container.bytes().find(item.bytes()) != std::string_view::npos;
  }
  if (container.is(Kind::dict)) return LM_TRY(find(meter, container.as_dict(), item)) != nullptr;
  if (container.is_undefined()) return false;
  if (!container.is(Kind::list)) {
    return template_error(
        concat("expected a list, dictionary or string to look in, found ", kind_name(container)));
  }
  for (const Value& candidate : container.items()) {
    if (LM_TRY(equal(meter, candidate, item))) return true;
  }
  return false;
}

Result<const Value*> find(Meter& meter, const Dict& dict, const Value& key) {
  LM_TRY(check_key(key));
  if (key.is_string()) return find(meter, dict, key.bytes());
  for (const auto& [candidate, value] : dict.entries) {
    if (LM_TRY(equal(meter, candidate, key))) return &value;
  }
  return static_cast<const Value*>(nullptr);
}

Result<const Value*> find(Meter& meter, const Dict& dict, std::string_view key) {
  LM_TRY(meter.step(dict.entries.size() / 8));
  for (const auto& [candidate, value] : dict.entries) {
    if (candidate.is_string() && candidate.bytes() == key) return &value;
  }
  return static_cast<const Value*>(nullptr);
}

Result<std::vector<Value>> iterate(Meter& meter, const Value& value) {
  std::vector<Value> items;
  switch (value.kind()) {
    case Kind::undefined:
      return items;
    case Kind::list:
      LM_TRY(meter.memory(value.items().size() * sizeof(Value)));
      return value.items();
    case Kind::dict:
      LM_TRY(meter.memory(value.as_dict().entries.size() * sizeof(Value)));
      for (const auto& [key, unused] : value.as_dict().entries) items.push_back(key);
      return items;
    case Kind::string: {
      const Text& text = value.as_text();
      LM_TRY(meter.memory(text.size() * (sizeof(Value) + sizeof(Text))));
      for (size_t at = 0; at < text.size();) {
        const auto n = size_t(utf8::decode(text.bytes().substr(at)).length);
        items.push_back(Value::text(text.slice(at, at + n)));
        at += n;
      }
      return items;
    }
    default:
      return template_error(concat("cannot go over ", kind_name(value)));
  }
}

Result<int64_t> length(Meter& meter, const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return int64_t(0);
    case Kind::list:
      return int64_t(value.items().size());
    case Kind::dict:
      return int64_t(value.as_dict().entries.size());
    case Kind::string:
      LM_TRY(meter.step(value.as_text().size() / 64));
      return int64_t(count_characters(value.bytes()));
    default:
      return template_error(concat(kind_name(value), " has no length"));
  }
}

size_t count_characters(std::string_view text) {
  size_t n = 0;
  for (size_t at = 0; at < text.size(); ++n) {
    at += size_t(utf8::decode(text.substr(at, 4)).length);
  }
  return n;
}

size_t byte_offset(std::string_view text, size_t characters) {
  size_t at = 0;
  for (; characters > 0 && at < text.size(); --characters) {
    at += size_t(utf8::decode(text.substr(at, 4)).length);
  }
  return at;
}

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

}  // namespace lm::jinja
