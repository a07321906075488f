// What stands behind a point or between brackets, and the methods of lists and dictionaries.
#include <algorithm>
#include <array>

#include "engine/core/text.h"
#include "engine/core/utf8.h"
#include "engine/text/jinja/library.h"

namespace lm::jinja {
namespace {

constexpr std::array<std::string_view, 5> kDictMethods = {"get", "items", "keys", "values", "copy"};
constexpr std::array<std::string_view, 3> kListMethods = {"index", "count", "copy"};

Value missing(const Value& value, std::string_view name) {
  return Value::undefined(concat(kind_name(value), " has no \"", printable(name, 60), "\""));
}

Value method(const Value& self, std::string_view name) {
  return Value::of(std::make_shared<const Function>(Function{std::string(name), self}));
}

const Value* namespace_entry(const Value& space, std::string_view name) {
  for (const auto& [key, value] : space.as_namespace().attributes) {
    if (key == name) return &value;
  }
  return nullptr;
}

// Where `index` counts from the end when negative; nullopt outside.
std::optional<size_t> position(int64_t index, int64_t size) {
  if (index < 0) index += size;
  if (index < 0 || index >= size) return std::nullopt;
  return size_t(index);
}

Result<Value> element(Context& context, const Value& value, int64_t index) {
  if (value.is(Kind::list)) {
    const std::optional<size_t> at = position(index, int64_t(value.items().size()));
    if (!at) return Value::undefined(concat(kind_name(value), " has no item ", index));
    return value.items()[*at];
  }
  const Text& text = value.as_text();
  const std::optional<size_t> at = position(index, LM_TRY(length(context.meter, value)));
  if (!at) return Value::undefined(concat("a string has no character ", index));
  const size_t begin = byte_offset(text.bytes(), *at);
  const auto n = size_t(utf8::decode(text.bytes().substr(begin, 4)).length);
  return Value::text(text.slice(begin, begin + n));
}

// A slice's bound as Python clips it.
int64_t clipped(const Value& bound, int64_t otherwise, int64_t size, int64_t step) {
  if (bound.is(Kind::none)) return otherwise;
  int64_t i = bound.as_integer();
  if (i < 0) i = i < -size ? -1 : i + size;
  if (i < 0) return step < 0 ? -1 : 0;
  return std::min(i, step < 0 ? size - 1 : size);
}

}  // namespace

bool has_method(const Value& self, std::string_view name) {
  const auto is_one = [&](const auto& names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (self.is_string()) return has_string_method(name);
  if (self.is(Kind::dict)) return is_one(kDictMethods);
  return self.is(Kind::list) && is_one(kListMethods);
}

Result<Value> get_attribute(Context& context, const Value& value, std::string_view name) {
  if (value.is_undefined()) return template_error(std::string(value.reason()));
  if (has_method(value, name)) return method(value, name);
  if (value.is(Kind::dict)) {
    const Value* entry = LM_TRY(find(context.meter, value.as_dict(), name));
    if (entry != nullptr) return *entry;
  }
  if (value.is(Kind::name_space)) {
    LM_TRY(context.meter.step(value.as_namespace().attributes.size() / 8));
    const Value* entry = namespace_entry(value, name);
    if (entry != nullptr) return *entry;
  }
  if (value.is(Kind::function) && value.as_function().macro != nullptr && name == "name") {
    return Value::text(value.as_function().name);
  }
  return missing(value, name);
}

Result<Value> get_item(Context& context, const Value& value, const Value& key) {
  if (value.is_undefined()) return template_error(std::string(value.reason()));
  if (value.is(Kind::dict)) {
    if (!key.is(Kind::dict) && (!key.is(Kind::list) || key.is_tuple())) {
      const Value* entry = LM_TRY(find(context.meter, value.as_dict(), key));
      if (entry != nullptr) return *entry;
    }
  } else if ((value.is(Kind::list) || value.is_string()) && key.is_whole()) {
    return element(context, value, key.as_integer());
  }
  if (key.is_string()) return get_attribute(context, value, key.bytes());
  return missing(value, LM_TRY(to_text(context.meter, key)).bytes());
}

Result<Value> get_slice(Context& context, const Value& value, const Value& from, const Value& to,
                        const Value& step) {
  if (value.is_undefined()) return template_error(std::string(value.reason()));
  if (!value.is(Kind::list) && !value.is_string()) {
    return template_error(concat("expected a list or a string to slice, found ", kind_name(value)));
  }
  for (const Value* bound : {&from, &to, &step}) {
    if (!bound->is_whole() && !bound->is(Kind::none)) {
      return template_error(concat("expected integers in a slice, found ", kind_name(*bound)));
    }
  }
  const int64_t by = step.is(Kind::none) ? 1 : step.as_integer();
  if (by == 0) return template_error("expected a step of a slice that is not 0");
  const int64_t size = LM_TRY(length(context.meter, value));
  const int64_t first = clipped(from, by > 0 ? 0 : size - 1, size, by);
  const int64_t end = clipped(to, by > 0 ? size : -1, size, by);
  if (value.is_string() && by == 1) {
    const Text& text = value.as_text();
    const size_t begin = byte_offset(text.bytes(), size_t(first));
    const size_t stop = end <= first ? begin : byte_offset(text.bytes(), size_t(end));
    TextBuilder out(context.meter);
    LM_TRY(out.append(text, begin, stop));
    return out.finish();
  }
  const std::vector<Value> items = LM_TRY(iterate(context.meter, value));
  std::vector<Value> chosen;
  for (int64_t i = first; by > 0 ? i < end : i > end;) {
    chosen.push_back(items[size_t(i)]);
    if (__builtin_add_overflow(i, by, &i)) break;
  }
  if (value.is_string()) return join(context, chosen, Text());
  return make_list(context.meter, std::move(chosen), value.is_tuple());
}

Result<Value> get_path(Context& context, const Value& value, const Value& path) {
  if (path.is_whole()) return get_item(context, value, path);
  if (!path.is_string()) {
    return template_error(concat("expected an attribute's name, found ", kind_name(path)));
  }
  Value found = value;
  std::string_view rest = path.bytes();
  while (true) {
    const size_t end = std::min(rest.find('.'), rest.size());
    const std::string_view name = rest.substr(0, end);
    const std::optional<int64_t> index = parse_int(name);
    const Value key = index ? Value::integer(*index) : Value::text(name);
    found = LM_TRY(get_item(context, found, key));
    if (end == rest.size()) return found;
    rest.remove_prefix(end + 1);
  }
}

namespace {

Result<Value> call_dict_method(Context& context, const Value& self, std::string_view name,
                               const CallArguments& arguments) {
  const Dict& dict = self.as_dict();
  if (name == "get") {
    const Bound bound = LM_TRY(bind(name, arguments, {"key", "default"}, 1));
    const Value* value = LM_TRY(find(context.meter, dict, *bound[0]));
    if (value != nullptr) return *value;
    return bound[1].value_or(Value::none());
  }
  LM_TRY(bind(name, arguments, {}));
  if (name == "copy") return self;
  std::vector<Value> items;
  for (const auto& [key, value] : dict.entries) {
    if (name == "items") {
      items.push_back(LM_TRY(make_list(context.meter, {key, value}, true)));
    } else {
      items.push_back(name == "keys" ? key : value);
    }
  }
  return make_list(context.meter, std::move(items));
}

Result<Value> call_list_method(Context& context, const Value& self, std::string_view name,
                               const CallArguments& arguments) {
  if (name == "copy") return self;
  const Bound bound = LM_TRY(bind(name, arguments, {"value"}, 1));
  int64_t count = 0;
  for (size_t i = 0; i < self.items().size(); ++i) {
    if (!LM_TRY(equal(context.meter, self.items()[i], *bound[0]))) continue;
    if (name == "index") return Value::integer(int64_t(i));
    ++count;
  }
  if (name == "index") return template_error("expected the value of index() in the list");
  return Value::integer(count);
}

}  // namespace

Result<Value> call_method(Context& context, const Value& self, std::string_view name,
                          const CallArguments& arguments) {
  if (self.is_string()) return call_string_method(context, self.as_text(), name, arguments);
  if (self.is(Kind::dict)) return call_dict_method(context, self, name, arguments);
  return call_list_method(context, self, name, arguments);
}

}  // namespace lm::jinja
