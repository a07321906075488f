// engine/grammar/schema_values.h — what schemas say about strings and numbers, as automata; and
// whether a given value satisfies them.
#pragma once
#include <optional>

#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/grammar/automata.h"
#include "engine/grammar/number_range.h"
#include "engine/grammar/schema_document.h"

namespace lm::grammar {

// Of resolved parts. nullopt: any string, any number.
Result<std::optional<Dfa>> string_values(const SchemaDocument& document, const Parts& parts);
Result<std::optional<Dfa>> number_values(const SchemaDocument& document, const Parts& parts,
                                         bool integer);

// The characters of a string that JSON holds.
std::u32string characters(const std::string& utf8);

// Whether `value` satisfies all parts.
Result<bool> satisfies(const SchemaDocument& document, const Parts& parts, const Json& value,
                       int depth = 0);

}  // namespace lm::grammar
