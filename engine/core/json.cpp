#include "engine/core/json.h"

#include "engine/core/text.h"

namespace lm {
namespace {

// nlohmann's parser keeps its own heap stack while it reads, but a deep value is later copied and
// destroyed recursively; so depth is bounded before a value is built.
bool nests_deeper_than(std::string_view text, int max_depth) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > max_depth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

template <class Value>
Result<Value> parse_as(std::string_view text, int max_depth) {
  if (nests_deeper_than(text, max_depth)) {
    return Error{ErrorCode::bad_file, concat("expected JSON nested at most ", max_depth, " deep")};
  }
  try {
    return Value::parse(text);
  } catch (const typename Value::parse_error& e) {
    return Error{ErrorCode::bad_file, concat("expected JSON, found a mistake at byte ", e.byte)};
  } catch (const typename Value::exception&) {  // e.g. a number out of range
    return Error{ErrorCode::bad_file, "expected JSON, found a value that it cannot hold"};
  }
}

}  // namespace

Result<Json> parse_json(std::string_view text, int max_depth) {
  return parse_as<Json>(text, max_depth);
}

Result<SortedJson> parse_sorted_json(std::string_view text, int max_depth) {
  return parse_as<SortedJson>(text, max_depth);
}

std::string dump_json(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace lm
