// engine/text/pattern.h — a regular expression that a person wrote (PCRE2's syntax,
// pcre2pattern(3)), found anywhere in a name.
#pragma once
#include <memory>
#include <string_view>

#include "engine/core/result.h"

namespace lm {

class Pattern {
 public:
  // bad_request: what is wrong with the expression, and where.
  static Result<Pattern> compile(std::string_view expression);

  // A search that takes too long finds nothing.
  bool found_in(std::string_view text) const;

 private:
  struct Impl;
  explicit Pattern(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace lm
