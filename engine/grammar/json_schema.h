// engine/grammar/json_schema.h — a JSON schema as a grammar of the JSON texts that satisfy it.
// Source: JSON Schema draft 2020-12. Every text of the grammar satisfies the schema; where the
// schema allows more than anyone means, the grammar is narrower:
// - properties come in the order in which the schema names them, each at most once;
// - properties that it does not name come only where `additionalProperties` asks for them or where
//   no property is named at all;
// - a schema without `type` means the types that its keywords speak of;
// - numbers have at most 15 digits before and after the point; white space is at most a line end
//   and 16 spaces, so that no text goes on for ever without saying anything.
#pragma once
#include <string_view>

#include "engine/core/result.h"
#include "engine/grammar/grammar.h"

namespace lm::grammar {

// bad_file when it is no schema; unsupported when it uses a keyword that cannot be enforced, or is
// too large. Both say where.
Result<Grammar> parse_json_schema(std::string_view text);

}  // namespace lm::grammar
