// engine/text/name_pattern.h — a regular expression (PCRE2's syntax) that picks names, such as
// those of tensors.
#pragma once
#include <memory>
#include <string_view>

#include "engine/core/result.h"

namespace lm {

class NamePattern {
 public:
  // bad_request when `pattern` is not a regular expression.
  static Result<NamePattern> compile(std::string_view pattern);
  NamePattern(NamePattern&&) noexcept;
  NamePattern& operator=(NamePattern&&) noexcept;
  ~NamePattern();

  // Whether the pattern occurs anywhere in `name`. A search that takes too long finds nothing.
  bool occurs_in(std::string_view name) const;

 private:
  struct Impl;
  explicit NamePattern(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace lm
