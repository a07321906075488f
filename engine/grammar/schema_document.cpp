#include "engine/grammar/schema_document.h"

#include <algorithm>
#include <optional>

#include "engine/core/text.h"
#include "engine/grammar/limits.h"

namespace lm::grammar {
namespace {

constexpr size_t kMaxParts = 1000;
constexpr int kMaxSchemaDepth = 128;

enum class Shape {
  any,
  object,
  array,
  string,
  count,
  number,
  schema,
  schemas,
  schema_map,
  strings
};

struct Keyword {
  std::string_view name;
  Shape shape;
  unsigned types;  // that it speaks of; 0: of every type, or none
};

// What is enforced. `default`, `title` and their like are in kAnnotations.
constexpr Keyword kKeywords[] = {
    {"type", Shape::any, 0},
    {"enum", Shape::array, 0},
    {"const", Shape::any, 0},
    {"$ref", Shape::string, 0},
    {"allOf", Shape::schemas, 0},
    {"anyOf", Shape::schemas, 0},
    {"oneOf", Shape::schemas, 0},
    {"minLength", Shape::count, kString},
    {"maxLength", Shape::count, kString},
    {"pattern", Shape::string, kString},
    {"format", Shape::string, 0},
    {"minimum", Shape::number, kInteger | kNumber},
    {"maximum", Shape::number, kInteger | kNumber},
    {"exclusiveMinimum", Shape::number, kInteger | kNumber},
    {"exclusiveMaximum", Shape::number, kInteger | kNumber},
    {"multipleOf", Shape::number, kInteger | kNumber},
    {"items", Shape::schema, kArray},
    {"prefixItems", Shape::schemas, kArray},
    {"minItems", Shape::count, kArray},
    {"maxItems", Shape::count, kArray},
    {"properties", Shape::schema_map, kObject},
    {"required", Shape::strings, kObject},
    {"additionalProperties", Shape::schema, kObject},
    {"minProperties", Shape::count, kObject},
    {"maxProperties", Shape::count, kObject},
    {"$defs", Shape::object, 0},
    {"definitions", Shape::object, 0},
};

constexpr std::string_view kAnnotations[] = {
    "$schema",          "$id",           "$comment",         "$anchor",
    "$vocabulary",      "title",         "description",      "default",
    "examples",         "example",       "deprecated",       "readOnly",
    "writeOnly",        "contentSchema", "contentMediaType", "contentEncoding",
    "propertyOrdering", "discriminator", "externalDocs",     "xml"};

bool is_schema(const Json& value) {
  return value.is_object() || value.is_boolean();
}

template <class Predicate>
bool all_of(const Json& value, Predicate holds) {
  return std::all_of(value.begin(), value.end(), holds);
}

bool has_shape(const Json& value, Shape shape) {
  switch (shape) {
    case Shape::any:
      return true;
    case Shape::object:
      return value.is_object();
    case Shape::array:
      return value.is_array() && !value.empty();
    case Shape::string:
      return value.is_string();
    case Shape::count:
      return value.is_number_unsigned() ||
             (value.is_number_float() && value.get<double>() >= 0 && value.get<double>() < 1e9 &&
              value.get<double>() == double(int64_t(value.get<double>())));
    case Shape::number:
      return value.is_number();
    case Shape::schema:
      return is_schema(value);
    case Shape::schemas:
      return value.is_array() && !value.empty() && all_of(value, is_schema);
    case Shape::schema_map:
      return value.is_object() && all_of(value, is_schema);
    case Shape::strings:
      return value.is_array() && all_of(value, [](const Json& v) { return v.is_string(); });
  }
  return false;
}

std::string_view shape_name(Shape shape) {
  switch (shape) {
    case Shape::any:
    case Shape::object:
      return "an object";
    case Shape::array:
      return "an array that is not empty";
    case Shape::string:
      return "a string";
    case Shape::count:
      return "a whole number of at least 0";
    case Shape::number:
      return "a number";
    case Shape::schema:
      return "a schema (an object, true or false)";
    case Shape::schemas:
      return "an array of schemas";
    case Shape::schema_map:
      return "an object of schemas";
    case Shape::strings:
      return "an array of strings";
  }
  return "";
}

const Keyword* find_keyword(std::string_view name) {
  const auto found = std::find_if(std::begin(kKeywords), std::end(kKeywords),
                                  [&](const Keyword& k) { return k.name == name; });
  return found == std::end(kKeywords) ? nullptr : found;
}

// Says nothing about a value although its name is not among kKeywords.
bool constrains_nothing(std::string_view name, const Json& value) {
  if (name.starts_with("x-")) return true;
  if (name == "uniqueItems") return value == Json(false);
  if (name == "patternProperties") return value.is_object() && value.empty();
  return std::find(std::begin(kAnnotations), std::end(kAnnotations), name) !=
         std::end(kAnnotations);
}

unsigned type_named(std::string_view name) {
  constexpr std::pair<std::string_view, unsigned> kNames[] = {
      {"null", kNull},       {"boolean", kBoolean},
      {"integer", kInteger}, {"number", kInteger | kNumber},
      {"string", kString},   {"array", kArray},
      {"object", kObject}};
  for (const auto& [known, bits] : kNames) {
    if (known == name) return bits;
  }
  return 0;
}

// 0 when the value of `type` is not right.
unsigned types_in(const Json& type) {
  if (type.is_string()) return type_named(type.get_ref<const std::string&>());
  unsigned types = 0;
  if (!type.is_array()) return 0;
  for (const Json& name : type) {
    const unsigned bits = name.is_string() ? type_named(name.get_ref<const std::string&>()) : 0;
    if (bits == 0) return 0;
    types |= bits;
  }
  return types;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// One step of a JSON pointer in a URI fragment: %XX, then ~1 and ~0.
std::string pointer_token(std::string_view text) {
  std::string bytes, out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escaped = text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
                         hex_digit(text[i + 2]) >= 0;
    bytes.push_back(escaped ? char(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2])) : text[i]);
    if (escaped) i += 2;
  }
  for (size_t i = 0; i < bytes.size(); ++i) {
    const bool escaped = bytes[i] == '~' && i + 1 < bytes.size();
    out.push_back(escaped ? (bytes[i + 1] == '1' ? '/' : '~') : bytes[i]);
    if (escaped) ++i;
  }
  return out;
}

std::string escaped_token(std::string_view key) {
  std::string out;
  for (const char c : key) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

bool find_path(const Json& in, const Json& what, std::string& path) {
  if (&in == &what) return true;
  if (!in.is_structured()) return false;
  const size_t length = path.size();
  for (auto it = in.begin(); it != in.end(); ++it) {
    path += in.is_object() ? concat("/", escaped_token(it.key())) : concat("/", it - in.begin());
    if (find_path(*it, what, path)) return true;
    path.resize(length);
  }
  return false;
}

}  // namespace

const Json* keyword(const Json& schema, std::string_view name) {
  const auto found = schema.find(name);
  return found == schema.end() ? nullptr : &*found;
}

Result<SchemaDocument> SchemaDocument::parse(std::string_view text) {
  if (text.size() > kMaxSchemaBytes) {
    return Error{ErrorCode::bad_file, concat("expected a schema of at most ", kMaxSchemaBytes,
                                             " bytes, found ", text.size())};
  }
  Json root = LM_TRY(parse_json(text, kMaxSchemaDepth));
  if (!is_schema(root)) {
    return Error{ErrorCode::bad_file,
                 "expected a schema: a JSON object, true or false, found another value"};
  }
  return SchemaDocument(std::move(root));
}

std::string SchemaDocument::path_of(const Json& where) const {
  std::string path = "#";
  return find_path(root_, where, path) ? path : "#";
}

Error SchemaDocument::error(ErrorCode code, const Json& where, std::string_view message) const {
  return {code, concat(message, ", at ", printable(path_of(where)))};
}

Status SchemaDocument::check_keywords(const Json& schema) const {
  for (auto it = schema.begin(); it != schema.end(); ++it) {
    const std::string& name = it.key();
    const Keyword* known = find_keyword(name);
    if (known == nullptr && constrains_nothing(name, *it)) continue;
    if (known == nullptr) {
      return error(
          ErrorCode::unsupported, schema,
          concat("expected keywords that can be enforced, found \"", printable(name), "\""));
    }
    const bool good = name == "type" ? types_in(*it) != 0 : has_shape(*it, known->shape);
    if (!good) {
      const std::string_view expected =
          name == "type" ? "the name of a type, or an array of them" : shape_name(known->shape);
      return error(ErrorCode::bad_file, schema, concat("expected ", expected, " as ", name));
    }
  }
  return ok();
}

Result<const Json*> SchemaDocument::follow(const Json& schema, std::string_view reference) const {
  const Error unknown =
      error(ErrorCode::bad_file, schema,
            concat("expected a reference to a schema in this document (#/...), found \"",
                   printable(reference), "\""));
  if (!reference.starts_with('#')) return unknown;
  reference.remove_prefix(1);
  const Json* at = &root_;
  while (!reference.empty()) {
    if (reference[0] != '/') return unknown;
    const size_t end = std::min(reference.find('/', 1), reference.size());
    const std::string token = pointer_token(reference.substr(1, end - 1));
    reference.remove_prefix(end);
    if (at->is_object()) {
      at = keyword(*at, token);
      if (at == nullptr) return unknown;
    } else {
      const std::optional<int64_t> index = parse_int(token);
      if (!at->is_array() || !index || *index < 0 || size_t(*index) >= at->size()) return unknown;
      at = &(*at)[size_t(*index)];
    }
  }
  if (!is_schema(*at)) return unknown;
  return at;
}

Result<Resolved> SchemaDocument::resolve(const Parts& parts) const {
  Resolved resolved;
  Parts pending(parts.rbegin(), parts.rend());  // a stack: the document's order
  Parts seen;
  while (!pending.empty()) {
    const Part part = pending.back();
    pending.pop_back();
    if (part.schema->is_boolean()) {
      resolved.nothing = resolved.nothing || !part.schema->get<bool>();
      continue;
    }
    if (std::find(seen.begin(), seen.end(), part) != seen.end()) continue;
    seen.push_back(part);
    if (!work_.spend(seen.size() + part.schema->size())) return too_much_work();
    if (seen.size() + pending.size() > kMaxParts) {
      return error(ErrorCode::unsupported, *part.schema,
                   concat("expected at most ", kMaxParts, " schemas that must hold at once"));
    }
    LM_TRY(check_keywords(*part.schema));
    resolved.parts.push_back(part);
    resolved.parts.back().references_done = true;
    if (part.references_done) continue;
    if (const Json* all = keyword(*part.schema, "allOf")) {
      for (auto it = all->rbegin(); it != all->rend(); ++it) pending.push_back({&*it});
    }
    if (const Json* reference = keyword(*part.schema, "$ref")) {
      pending.push_back({LM_TRY(follow(*part.schema, reference->get_ref<const std::string&>()))});
    }
  }
  return resolved;
}

unsigned stated_types(const Parts& parts) {
  unsigned types = kEveryType;
  for (const Part& part : parts) {
    if (const Json* type = keyword(*part.schema, "type")) types &= types_in(*type);
  }
  return types;
}

unsigned meant_types(const Parts& parts) {
  unsigned spoken_of = 0;
  for (const Part& part : parts) {
    if (part.schema->contains("type")) return stated_types(parts);
    for (auto it = part.schema->begin(); it != part.schema->end(); ++it) {
      const Keyword* known = find_keyword(it.key());
      if (known != nullptr) spoken_of |= known->types;
      if (it.key() == "format") spoken_of |= kString;
    }
  }
  return spoken_of != 0 ? spoken_of : unsigned{kEveryType};
}

}  // namespace lm::grammar
