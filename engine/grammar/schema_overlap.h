// engine/grammar/schema_overlap.h — whether a value can satisfy two schemas at once: oneOf may only
// offer members of which that is known to be impossible.
#pragma once
#include "engine/core/result.h"
#include "engine/grammar/schema_document.h"

namespace lm::grammar {

// False only when no text that the grammar of one writes satisfies the other.
Result<bool> may_overlap(const SchemaDocument& document, const Parts& a, const Parts& b);

// Whether a property that no part names may be written, as json_schema.h says.
bool writes_unnamed(const Parts& resolved);

// The values of a property: what the parts say of it together.
Parts property_parts(const Parts& resolved, std::string_view name);
// The items at `index` of an array.
Parts item_parts(const Parts& resolved, size_t index);
// What all parts require, in their order, each once.
std::vector<std::string> required_names(const Parts& resolved);
// The tightest of a keyword whose value is a count: the largest of a minimum, the least of a
// maximum.
size_t tightest_count(const Parts& resolved, std::string_view name, size_t none);

}  // namespace lm::grammar
