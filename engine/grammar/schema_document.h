// engine/grammar/schema_document.h — a JSON schema as a document: references, the keywords that are
// known, and what several schemas that must hold at once say together.
// Source: JSON Schema draft 2020-12, core and validation.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/grammar/automata.h"

namespace lm::grammar {

// A schema that must hold. What is done no longer counts: a member of anyOf or oneOf was chosen,
// what $ref and allOf name stands beside it.
struct Part {
  const Json* schema;
  bool any_of_done = false, one_of_done = false, references_done = false;
  auto operator<=>(const Part&) const = default;
};
using Parts = std::vector<Part>;  // all of them must hold

enum TypeBit : unsigned {
  kNull = 1,
  kBoolean = 2,
  kInteger = 4,
  kNumber = 8,  // together with kInteger
  kString = 16,
  kArray = 32,
  kObject = 64,
  kEveryType = 127,
};

struct Resolved {
  bool nothing = false;  // a part is `false`
  Parts parts;           // each an object, without $ref and allOf; in the order of the document
};

class SchemaDocument {
 public:
  static Result<SchemaDocument> parse(std::string_view text);

  const Json& root() const { return root_; }
  // Puts what $ref and allOf name in their place. Every keyword that is met is checked: bad_file
  // when its value has the wrong type, unsupported when it cannot be enforced.
  Result<Resolved> resolve(const Parts& parts) const;
  // "at #/properties/a: expected ..."
  Work& work() const { return work_; }
  Error error(ErrorCode code, const Json& where, std::string_view message) const;

 private:
  explicit SchemaDocument(Json root) : root_(std::move(root)) {}
  Status check_keywords(const Json& schema) const;
  Result<const Json*> follow(const Json& schema, std::string_view reference) const;
  std::string path_of(const Json& where) const;

  Json root_;
  mutable Work work_;  // left for all that is made of this document
};

// The value of a keyword; nullptr when the schema has none.
const Json* keyword(const Json& schema, std::string_view name);

// What `type` allows in all parts; without any `type`: every type.
unsigned stated_types(const Parts& parts);
// The same, but without any `type` those that the other keywords speak of.
unsigned meant_types(const Parts& parts);

}  // namespace lm::grammar
