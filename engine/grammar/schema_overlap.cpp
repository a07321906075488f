#include "engine/grammar/schema_overlap.h"

#include <algorithm>

#include "engine/grammar/schema_values.h"

namespace lm::grammar {
namespace {

constexpr int kMaxDepth = 8;  // deeper, two schemas are taken to overlap

Parts joined(const Parts& a, const Parts& b) {
  Parts both = a;
  both.insert(both.end(), b.begin(), b.end());
  return both;
}

class Possible {
 public:
  explicit Possible(const SchemaDocument& document) : document_(document) {}

  // False only when nothing can satisfy the parts.
  Result<bool> of(const Parts& parts, int depth) {
    const Resolved resolved = LM_TRY(document_.resolve(parts));
    if (resolved.nothing) return false;
    if (depth > kMaxDepth) return true;
    if (!document_.work().spend(1)) return too_much_work();
    for (const Part& part : resolved.parts) {
      const Json* list = keyword(*part.schema, "enum");
      const Json* constant = keyword(*part.schema, "const");
      if (constant != nullptr) return satisfies(document_, resolved.parts, *constant);
      if (list != nullptr) return any_of_list(*list, resolved.parts);
      if (!part.any_of_done && part.schema->contains("anyOf")) {
        return any_member(resolved.parts, part, "anyOf", depth);
      }
      if (!part.one_of_done && part.schema->contains("oneOf")) {
        return any_member(resolved.parts, part, "oneOf", depth);
      }
    }
    return any_type(resolved.parts, depth);
  }

 private:
  Result<bool> any_of_list(const Json& list, const Parts& parts) {
    for (const Json& value : list) {
      if (LM_TRY(satisfies(document_, parts, value))) return true;
    }
    return false;
  }

  Result<bool> any_member(Parts parts, const Part& owner, const char* name, int depth) {
    Part& marked = *std::find(parts.begin(), parts.end(), owner);
    (name == std::string_view("anyOf") ? marked.any_of_done : marked.one_of_done) = true;
    for (const Json& member : *keyword(*owner.schema, name)) {
      if (LM_TRY(of(joined(parts, {{&member}}), depth + 1))) return true;
    }
    return false;
  }

  Result<bool> any_type(const Parts& parts, int depth) {
    const unsigned types = stated_types(parts);
    if ((types & (kNull | kBoolean)) != 0) return true;
    if ((types & (kInteger | kNumber)) != 0) {
      const bool integer = (types & kNumber) == 0;
      const std::optional<Dfa> dfa = LM_TRY(number_values(document_, parts, integer));
      if (!dfa || !accepts_nothing(*dfa)) return true;
    }
    if ((types & kString) != 0) {
      const std::optional<Dfa> dfa = LM_TRY(string_values(document_, parts));
      if (!dfa || !accepts_nothing(trim(*dfa))) return true;
    }
    if ((types & kArray) != 0 && LM_TRY(array(parts, depth))) return true;
    return (types & kObject) != 0 && LM_TRY(object(parts, depth));
  }

  Result<bool> array(const Parts& parts, int depth) {
    const size_t least = tightest_count(parts, "minItems", 0);
    if (least > tightest_count(parts, "maxItems", SIZE_MAX)) return false;
    constexpr size_t kMaxItems = 16;
    for (size_t i = 0; i < std::min(least, kMaxItems); ++i) {
      if (!LM_TRY(of(item_parts(parts, i), depth + 1))) return false;
    }
    return true;
  }

  Result<bool> object(const Parts& parts, int depth) {
    for (const std::string& name : required_names(parts)) {
      if (!LM_TRY(of(property_parts(parts, name), depth + 1))) return false;
    }
    return true;
  }

  const SchemaDocument& document_;
};

bool names_property(const Parts& parts, const std::string& name) {
  const auto names_it = [&](const Part& part) {
    const Json* properties = keyword(*part.schema, "properties");
    return properties != nullptr && properties->contains(name);
  };
  const std::vector<std::string> required = required_names(parts);
  return std::any_of(parts.begin(), parts.end(), names_it) ||
         std::find(required.begin(), required.end(), name) != required.end();
}

// `needs` requires a property that the texts of `writes` never have.
bool misses_property(const Parts& writes, const Parts& needs) {
  if (writes_unnamed(writes)) return false;
  const std::vector<std::string> required = required_names(needs);
  return std::any_of(required.begin(), required.end(),
                     [&](const std::string& name) { return !names_property(writes, name); });
}

// Plain objects, each of which requires what the other never writes.
bool distinct_objects(const Parts& a, const Parts& b) {
  const auto plain = [](const Parts& parts) {
    return meant_types(parts) == kObject && stated_types(parts) == kObject &&
           std::none_of(parts.begin(), parts.end(), [](const Part& part) {
             return (!part.any_of_done && part.schema->contains("anyOf")) ||
                    (!part.one_of_done && part.schema->contains("oneOf"));
           });
  };
  return plain(a) && plain(b) && misses_property(a, b) && misses_property(b, a);
}

}  // namespace

bool writes_unnamed(const Parts& resolved) {
  bool asked = false, named = false;
  for (const Part& part : resolved) {
    const Json* additional = keyword(*part.schema, "additionalProperties");
    if (additional != nullptr && *additional == Json(false)) return false;
    asked = asked || additional != nullptr;
    named = named || part.schema->contains("properties") || part.schema->contains("required");
  }
  return asked || !named;
}

Parts property_parts(const Parts& resolved, std::string_view name) {
  Parts parts;
  for (const Part& part : resolved) {
    const Json* properties = keyword(*part.schema, "properties");
    const Json* schema = properties != nullptr ? keyword(*properties, name) : nullptr;
    if (schema == nullptr) schema = keyword(*part.schema, "additionalProperties");
    if (schema != nullptr) parts.push_back({schema});
  }
  return parts;
}

Parts item_parts(const Parts& resolved, size_t index) {
  Parts parts;
  for (const Part& part : resolved) {
    const Json* prefix = keyword(*part.schema, "prefixItems");
    const Json* items = keyword(*part.schema, "items");
    const bool in_prefix = prefix != nullptr && index < prefix->size();
    const Json* schema = in_prefix ? &(*prefix)[index] : items;
    if (schema != nullptr) parts.push_back({schema});
  }
  return parts;
}

std::vector<std::string> required_names(const Parts& resolved) {
  std::vector<std::string> names;
  for (const Part& part : resolved) {
    const Json* required = keyword(*part.schema, "required");
    if (required == nullptr) continue;
    for (const Json& name : *required) {
      const auto& text = name.get_ref<const std::string&>();
      if (std::find(names.begin(), names.end(), text) == names.end()) names.push_back(text);
    }
  }
  return names;
}

size_t tightest_count(const Parts& resolved, std::string_view name, size_t none) {
  const bool largest = name.starts_with("min");
  size_t tightest = none;
  for (const Part& part : resolved) {
    const Json* word = keyword(*part.schema, name);
    if (word == nullptr) continue;
    const auto count = size_t(std::min(word->get<double>(), 1e9));
    tightest = largest ? std::max(tightest, count) : std::min(tightest, count);
  }
  return tightest;
}

Result<bool> may_overlap(const SchemaDocument& document, const Parts& a, const Parts& b) {
  const Resolved left = LM_TRY(document.resolve(a)), right = LM_TRY(document.resolve(b));
  if (left.nothing || right.nothing) return false;
  if (distinct_objects(left.parts, right.parts)) return false;
  return Possible(document).of(joined(a, b), 0);
}

}  // namespace lm::grammar
