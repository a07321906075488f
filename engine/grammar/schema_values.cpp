#include "engine/grammar/schema_values.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string_view>
#include <utility>

#include "engine/core/text.h"
#include "engine/core/utf8.h"
#include "engine/grammar/limits.h"
#include "engine/grammar/regex.h"

namespace lm::grammar {
namespace {

constexpr char32_t kLastChar = 0x10FFFF;
constexpr int kMaxValueDepth = 64;

// What each format allows, within its specification: RFC 3339 (dates), RFC 4122 (uuid), RFC 5321
// (email), RFC 1123 (hostname), RFC 2673 (ipv4), RFC 4291 (ipv6), RFC 3986 (uri).
constexpr std::string_view kMonthDay =
    "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|"
    "02-(0[1-9]|1[0-9]|2[0-8]))";
constexpr std::string_view kLeapDay = "[1-9][0-9](0[48]|[2468][048]|[13579][26])-02-29";
constexpr std::string_view kTime =
    "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?"
    "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";
constexpr std::string_view kHost = "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?";

std::optional<std::string> format_pattern(std::string_view format) {
  const std::string date = concat("([1-9][0-9]{3}-", kMonthDay, "|", kLeapDay, ")");
  if (format == "date") return concat("^", date, "$");
  if (format == "time") return concat("^", kTime, "$");
  if (format == "date-time") return concat("^", date, "T", kTime, "$");
  if (format == "uuid") return "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
  if (format == "email") {
    return concat("^[a-zA-Z0-9_+-]{1,20}(\\.[a-zA-Z0-9_+-]{1,20}){0,2}@(", kHost,
                  "\\.){1,3}[a-z]{2,8}$");
  }
  if (format == "hostname") return concat("^", kHost, "(\\.", kHost, "){0,4}$");
  if (format == "ipv4") {
    constexpr std::string_view kByte = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
    return concat("^(", kByte, "\\.){3}", kByte, "$");
  }
  if (format == "ipv6") return "^([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}$";
  if (format == "uri") {
    return concat("^https?://", kHost, "(\\.", kHost, "){0,4}(:[1-9][0-9]{1,3})?",
                  "(/[a-zA-Z0-9._~-]*){0,12}$");
  }
  return std::nullopt;
}

// OpenAPI's names for ranges and secrets: JSON Schema gives them no meaning.
bool is_annotation_format(std::string_view format) {
  constexpr std::string_view kNames[] = {"int32", "int64",    "uint",   "uint32", "uint64",
                                         "float", "double",   "uint8",  "int8",   "uint16",
                                         "int16", "password", "binary", "byte"};
  return std::find(std::begin(kNames), std::end(kNames), format) != std::end(kNames);
}

// A keyword whose value has_shape(count); larger values mean the same as the limit.
size_t count_of(const Json& value) {
  constexpr uint64_t kMost = 1'000'000'000;
  if (value.is_number_unsigned()) return size_t(std::min(value.get<uint64_t>(), kMost));
  return size_t(value.get<double>());
}

Result<Dfa> length_dfa(const SchemaDocument& document, const Json& schema) {
  const Json* least_word = keyword(schema, "minLength");
  const Json* most_word = keyword(schema, "maxLength");
  const size_t least = least_word != nullptr ? count_of(*least_word) : 0;
  const bool bounded = most_word != nullptr;
  const size_t most = bounded ? count_of(*most_word) : least;
  if (std::max(least, most) > kMaxRepeat) {
    return document.error(ErrorCode::unsupported, schema,
                          concat("expected lengths of at most ", kMaxRepeat));
  }
  Dfa dfa;
  if (most < least) {
    dfa.states.emplace_back();
    return dfa;
  }
  for (uint32_t i = 0; i <= most; ++i) {
    dfa.states.push_back({{}, i >= least});
    if (i < most) dfa.states.back().edges.push_back({0, kLastChar, i + 1});
  }
  if (!bounded) dfa.states.back().edges.push_back({0, kLastChar, uint32_t(most)});
  return dfa;
}

class StringConstraints {
 public:
  explicit StringConstraints(const SchemaDocument& document) : document_(document) {}

  Status add(const Json& schema) {
    if (schema.contains("minLength") || schema.contains("maxLength")) {
      LM_TRY(narrow(LM_TRY(length_dfa(document_, schema))));
    }
    if (const Json* pattern = keyword(schema, "pattern")) {
      LM_TRY(add_pattern(schema, pattern->get_ref<const std::string&>()));
    }
    const Json* format = keyword(schema, "format");
    if (format == nullptr || is_annotation_format(format->get_ref<const std::string&>()))
      return ok();
    const std::optional<std::string> pattern =
        format_pattern(format->get_ref<const std::string&>());
    if (pattern) return add_pattern(schema, *pattern);
    return document_.error(
        ErrorCode::unsupported, schema,
        concat("expected one of the formats date, time, date-time, uuid, email, hostname, ipv4, "
               "ipv6, uri, found \"",
               printable(format->get_ref<const std::string&>()), "\""));
  }
  std::optional<Dfa> take() { return std::move(dfa_); }

 private:
  Status add_pattern(const Json& schema, std::string_view pattern) {
    Result<Dfa> dfa = compile_regex(pattern, document_.work());
    if (!dfa.ok()) return document_.error(dfa.error().code, schema, dfa.error().message);
    return narrow(std::move(dfa).value());
  }
  Status narrow(Dfa dfa) {
    dfa_ = dfa_ ? LM_TRY(intersect(*dfa_, dfa, document_.work())) : std::move(dfa);
    return ok();
  }

  const SchemaDocument& document_;
  std::optional<Dfa> dfa_;
};

// -1, 0 or 1: how a compares with b.
int compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  const int scale = std::max(a.scale, b.scale);
  const auto scaled = [scale](const Decimal& d) {
    return d.digits.empty() ? d.digits : d.digits + std::string(size_t(scale - d.scale), '0');
  };
  const std::string x = scaled(a), y = scaled(b);
  const int magnitude = x.size() != y.size() ? (x.size() < y.size() ? -1 : 1) : x.compare(y);
  const int sign = magnitude < 0 ? -1 : magnitude > 0 ? 1 : 0;
  return a.negative ? -sign : sign;
}

// direction 1: the larger bound is tighter (minimum).
void tighten(std::optional<Bound>& bound, const Bound& by, int direction) {
  const int order = bound ? compare(by.value, bound->value) * direction : 1;
  if (order > 0 || (order == 0 && by.exclusive)) bound = by;
}

Status add_bound(const SchemaDocument& document, const Json& schema, const char* name,
                 std::optional<Bound>& bound, bool exclusive, int direction) {
  const Json* word = keyword(schema, name);
  if (word == nullptr) return ok();
  const std::optional<Decimal> value = Decimal::parse(dump_json(*word));
  if (!value) {
    return document.error(ErrorCode::unsupported, schema,
                          concat("expected ", name, " to be 0 or between 1e-60 and 1e60"));
  }
  tighten(bound, {*value, exclusive}, direction);
  return ok();
}

Status add_multiple(const SchemaDocument& document, const Json& schema, NumberRange& range) {
  const Json* word = keyword(schema, "multipleOf");
  if (word == nullptr) return ok();
  const double value = word->get<double>();
  const bool good = value >= 1 && value <= kMaxMultiple && value == std::floor(value);
  const int together = good ? std::lcm(range.multiple_of, int(value)) : 0;
  if (good && together <= kMaxMultiple) {
    range.multiple_of = together;
    range.integer = true;
    return ok();
  }
  return document.error(
      ErrorCode::unsupported, schema,
      concat("expected multipleOf to be a whole number from 1 to ", kMaxMultiple));
}

bool has_type(unsigned types, const Json& value) {
  if (value.is_null()) return (types & kNull) != 0;
  if (value.is_boolean()) return (types & kBoolean) != 0;
  if (value.is_string()) return (types & kString) != 0;
  if (value.is_array()) return (types & kArray) != 0;
  if (value.is_object()) return (types & kObject) != 0;
  const bool whole =
      value.is_number_integer() || value.get<double>() == std::floor(value.get<double>());
  return (types & kNumber) != 0 || (whole && (types & kInteger) != 0);
}

// Checks one value against one resolved schema, which is no boolean.
class ValueCheck {
 public:
  ValueCheck(const SchemaDocument& document, const Json& schema, const Json& value, int depth)
      : document_(document), schema_(schema), value_(value), depth_(depth) {}

  Result<bool> run() {
    if (const Json* constant = word("const"); constant != nullptr && *constant != value_)
      return false;
    const Json* list = word("enum");
    if (list != nullptr && std::find(list->begin(), list->end(), value_) == list->end()) {
      return false;
    }
    if (!has_type(stated_types({{&schema_}}), value_)) return false;
    if (!LM_TRY(alternatives())) return false;
    if (value_.is_string()) return string();
    if (value_.is_number()) return number();
    if (value_.is_array()) return array();
    if (value_.is_object()) return object();
    return true;
  }

 private:
  const Json* word(std::string_view name) const { return keyword(schema_, name); }
  Result<bool> holds(const Json& schema, const Json& value) const {
    return satisfies(document_, {{&schema}}, value, depth_ + 1);
  }

  Result<bool> alternatives() const {
    for (const char* name : {"anyOf", "oneOf"}) {
      const Json* members = word(name);
      if (members == nullptr) continue;
      size_t n = 0;
      for (const Json& member : *members) n += LM_TRY(holds(member, value_)) ? 1 : 0;
      if (n == 0 || (n > 1 && name == std::string_view("oneOf"))) return false;
    }
    return true;
  }

  Result<bool> string() const {
    StringConstraints constraints(document_);
    LM_TRY(constraints.add(schema_));
    const std::optional<Dfa> dfa = constraints.take();
    return !dfa || accepts(*dfa, characters(value_.get_ref<const std::string&>()));
  }

  Result<bool> number() const {
    const double x = value_.get<double>();
    const auto bound = [&](const char* name) {
      const Json* found = word(name);
      return found != nullptr ? std::optional(found->get<double>()) : std::nullopt;
    };
    if (const auto b = bound("minimum"); b && !(x >= *b)) return false;
    if (const auto b = bound("maximum"); b && !(x <= *b)) return false;
    if (const auto b = bound("exclusiveMinimum"); b && !(x > *b)) return false;
    if (const auto b = bound("exclusiveMaximum"); b && !(x < *b)) return false;
    const auto multiple = bound("multipleOf");
    return !multiple || std::fmod(x, *multiple) == 0;
  }

  Result<bool> array() const {
    const Json* least = word("minItems");
    const Json* most = word("maxItems");
    if (least != nullptr && value_.size() < count_of(*least)) return false;
    if (most != nullptr && value_.size() > count_of(*most)) return false;
    const Json* prefix = word("prefixItems");
    const Json* items = word("items");
    for (size_t i = 0; i < value_.size(); ++i) {
      const Json* schema = prefix != nullptr && i < prefix->size() ? &(*prefix)[i] : items;
      if (schema != nullptr && !LM_TRY(holds(*schema, value_[i]))) return false;
    }
    return true;
  }

  Result<bool> object() const {
    const Json* least = word("minProperties");
    const Json* most = word("maxProperties");
    if (least != nullptr && value_.size() < count_of(*least)) return false;
    if (most != nullptr && value_.size() > count_of(*most)) return false;
    if (const Json* required = word("required")) {
      for (const Json& name : *required) {
        if (!value_.contains(name.get_ref<const std::string&>())) return false;
      }
    }
    const Json* properties = word("properties");
    const Json* additional = word("additionalProperties");
    for (auto it = value_.begin(); it != value_.end(); ++it) {
      const Json* declared = properties != nullptr ? keyword(*properties, it.key()) : nullptr;
      const Json* schema = declared != nullptr ? declared : additional;
      if (schema != nullptr && !LM_TRY(holds(*schema, *it))) return false;
    }
    return true;
  }

  const SchemaDocument& document_;
  const Json& schema_;
  const Json& value_;
  int depth_;
};

}  // namespace

std::u32string characters(const std::string& utf8) {
  std::u32string out;
  for (std::string_view rest = utf8; !rest.empty();) {
    const utf8::Decoded decoded = utf8::decode(rest);
    out.push_back(decoded.code_point);
    rest.remove_prefix(size_t(decoded.length));
  }
  return out;
}

Result<std::optional<Dfa>> string_values(const SchemaDocument& document, const Parts& parts) {
  StringConstraints constraints(document);
  for (const Part& part : parts) LM_TRY(constraints.add(*part.schema));
  return constraints.take();
}

Result<std::optional<Dfa>> number_values(const SchemaDocument& document, const Parts& parts,
                                         bool integer) {
  NumberRange range;
  range.integer = integer;
  for (const Part& part : parts) {
    const Json& schema = *part.schema;
    LM_TRY(add_bound(document, schema, "minimum", range.least, false, 1));
    LM_TRY(add_bound(document, schema, "exclusiveMinimum", range.least, true, 1));
    LM_TRY(add_bound(document, schema, "maximum", range.most, false, -1));
    LM_TRY(add_bound(document, schema, "exclusiveMaximum", range.most, true, -1));
    LM_TRY(add_multiple(document, schema, range));
  }
  if (!range.least && !range.most && range.multiple_of == 1) return std::optional<Dfa>();
  return std::optional<Dfa>(LM_TRY(number_dfa(range, document.work())));
}

Result<bool> satisfies(const SchemaDocument& document, const Parts& parts, const Json& value,
                       int depth) {
  if (depth > kMaxValueDepth) return false;
  if (!document.work().spend(1 + value.size())) return too_much_work();
  const Resolved resolved = LM_TRY(document.resolve(parts));
  if (resolved.nothing) return false;
  for (const Part& part : resolved.parts) {
    if (!LM_TRY(ValueCheck(document, *part.schema, value, depth).run())) return false;
  }
  return true;
}

}  // namespace lm::grammar
