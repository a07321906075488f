// tests/grammar/validator.h — a JSON Schema validator written from the specification alone, for
// parsed values: patterns by the standard library, no automata, nothing shared with the compiler.
#pragma once
#include <cmath>
#include <regex>
#include <string>

#include "engine/core/json.h"
#include "engine/core/utf8.h"

namespace lm::test {

class Validator {
 public:
  explicit Validator(const Json& root) : root_(root) {}
  bool valid(const Json& value) const { return valid(root_, value); }

 private:
  bool valid(const Json& schema, const Json& value) const {
    if (schema.is_boolean()) return schema.get<bool>();
    if (schema.contains("$ref") && !valid(follow(schema["$ref"]), value)) return false;
    if (schema.contains("type") && !has_type(schema["type"], value)) return false;
    if (schema.contains("const") && schema["const"] != value) return false;
    if (schema.contains("enum") && count_equal(schema["enum"], value) == 0) return false;
    if (schema.contains("allOf") && count_valid(schema["allOf"], value) < schema["allOf"].size()) {
      return false;
    }
    if (schema.contains("anyOf") && count_valid(schema["anyOf"], value) == 0) return false;
    if (schema.contains("oneOf") && count_valid(schema["oneOf"], value) != 1) return false;
    if (value.is_string()) return valid_string(schema, value.get<std::string>());
    if (value.is_number()) return valid_number(schema, value);
    if (value.is_array()) return valid_array(schema, value);
    if (value.is_object()) return valid_object(schema, value);
    return true;
  }

  const Json& follow(const std::string& reference) const {
    std::string path = reference.substr(1);
    for (size_t at; (at = path.find("%20")) != std::string::npos;) path.replace(at, 3, " ");
    return root_.at(Json::json_pointer(path));
  }

  static bool has_type(const Json& type, const Json& value) {
    if (type.is_array()) {
      for (const Json& one : type) {
        if (has_type(one, value)) return true;
      }
      return false;
    }
    if (type == "null") return value.is_null();
    if (type == "boolean") return value.is_boolean();
    if (type == "string") return value.is_string();
    if (type == "array") return value.is_array();
    if (type == "object") return value.is_object();
    if (type == "number") return value.is_number();
    return value.is_number() &&
           (value.is_number_integer() || std::floor(value.get<double>()) == value.get<double>());
  }

  static size_t count_equal(const Json& list, const Json& value) {
    size_t n = 0;
    for (const Json& one : list) n += one == value ? 1 : 0;
    return n;
  }
  size_t count_valid(const Json& schemas, const Json& value) const {
    size_t n = 0;
    for (const Json& one : schemas) n += valid(one, value) ? 1 : 0;
    return n;
  }

  // One wchar_t for each character: a pattern counts those, not bytes.
  static std::wstring wide(std::string_view utf8) {
    static_assert(sizeof(wchar_t) == 4);
    std::wstring out;
    while (!utf8.empty()) {
      const utf8::Decoded decoded = utf8::decode(utf8);
      out.push_back(wchar_t(decoded.code_point));
      utf8.remove_prefix(size_t(decoded.length));
    }
    return out;
  }

  static bool valid_string(const Json& schema, const std::string& text) {
    size_t length = 0;
    for (const char c : text) length += (c & 0xC0) != 0x80 ? 1 : 0;
    if (schema.contains("minLength") && length < schema["minLength"].get<size_t>()) return false;
    if (schema.contains("maxLength") && length > schema["maxLength"].get<size_t>()) return false;
    if (schema.contains("pattern") &&
        !std::regex_search(wide(text), std::wregex(wide(schema["pattern"].get<std::string>())))) {
      return false;
    }
    return !schema.contains("format") || valid_format(schema["format"], text);
  }

  static bool valid_format(const std::string& format, const std::string& text) {
    const auto matches = [&](const char* pattern) {
      return std::regex_match(text, std::regex(pattern));
    };
    if (format == "date") return valid_date(text);
    if (format == "time") return valid_time(text);
    if (format == "date-time") {
      return text.size() > 11 && valid_date(text.substr(0, 10)) && text[10] == 'T' &&
             valid_time(text.substr(11));
    }
    if (format == "uuid") {
      return matches("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}");
    }
    if (format == "email")
      return matches("[^@ .][^@ ]*[^@ .]@[^@ ]+\\.[a-z]+|[^@ .]@[^@ ]+\\.[a-z]+");
    if (format == "ipv4") {
      int a, b, c, d, n = 0;
      return std::sscanf(text.c_str(), "%d.%d.%d.%d%n", &a, &b, &c, &d, &n) == 4 &&
             size_t(n) == text.size() && std::max({a, b, c, d}) < 256;
    }
    return matches("[a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*");
  }

  static bool valid_date(const std::string& text) {
    if (!std::regex_match(text, std::regex("\\d{4}-\\d{2}-\\d{2}"))) return false;
    const int year = std::stoi(text), month = std::stoi(text.substr(5)),
              day = std::stoi(text.substr(8));
    const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    const int days[] = {31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1];
  }
  static bool valid_time(const std::string& text) {
    std::smatch m;
    return std::regex_match(
               text, m,
               std::regex("(\\d{2}):(\\d{2}):(\\d{2})(\\.\\d+)?(Z|[+-](\\d{2}):(\\d{2}))")) &&
           std::stoi(m[1]) < 24 && std::stoi(m[2]) < 60 && std::stoi(m[3]) < 60 &&
           (!m[6].matched || (std::stoi(m[6]) < 24 && std::stoi(m[7]) < 60));
  }

  static bool valid_number(const Json& schema, const Json& value) {
    if (schema.contains("minimum") && value < schema["minimum"]) return false;
    if (schema.contains("maximum") && value > schema["maximum"]) return false;
    if (schema.contains("exclusiveMinimum") && value <= schema["exclusiveMinimum"]) return false;
    if (schema.contains("exclusiveMaximum") && value >= schema["exclusiveMaximum"]) return false;
    return !schema.contains("multipleOf") ||
           value.get<int64_t>() % schema["multipleOf"].get<int64_t>() == 0;
  }

  bool valid_array(const Json& schema, const Json& value) const {
    if (schema.contains("minItems") && value.size() < schema["minItems"].get<size_t>())
      return false;
    if (schema.contains("maxItems") && value.size() > schema["maxItems"].get<size_t>())
      return false;
    size_t n_prefix = 0;
    if (schema.contains("prefixItems")) n_prefix = schema["prefixItems"].size();
    for (size_t i = 0; i < value.size(); ++i) {
      if (i < n_prefix && !valid(schema["prefixItems"][i], value[i])) return false;
      if (i >= n_prefix && schema.contains("items") && !valid(schema["items"], value[i]))
        return false;
    }
    return true;
  }

  bool valid_object(const Json& schema, const Json& value) const {
    if (schema.contains("minProperties") && value.size() < schema["minProperties"].get<size_t>()) {
      return false;
    }
    if (schema.contains("maxProperties") && value.size() > schema["maxProperties"].get<size_t>()) {
      return false;
    }
    if (schema.contains("required")) {
      for (const Json& name : schema["required"]) {
        if (!value.contains(name.get<std::string>())) return false;
      }
    }
    for (const auto& [name, one] : value.items()) {
      const bool declared = schema.contains("properties") && schema["properties"].contains(name);
      if (declared && !valid(schema["properties"][name], one)) return false;
      if (!declared && schema.contains("additionalProperties") &&
          !valid(schema["additionalProperties"], one)) {
        return false;
      }
    }
    return true;
  }

  const Json& root_;
};

}  // namespace lm::test
