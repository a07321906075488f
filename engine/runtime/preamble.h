// engine/runtime/preamble.h — what a reply has before the form that it was asked for: reasoning,
// and the headers that some models give every message. The form's grammar begins after it.
#pragma once
#include <string>
#include <string_view>

#include "engine/grammar/grammar.h"
#include "engine/text/reply_format.h"

namespace lm {

struct Preamble {
  bool channels = false;  // gpt-oss: the header of the answer, and before it perhaps an analysis
  // Otherwise reasoning that ends with `end`. It begins with `begin`, and may be left out; or the
  // prompt has begun it, and `begin` is empty.
  std::string begin{}, end{};

  bool empty() const { return !channels && end.empty(); }
  bool operator==(const Preamble&) const = default;
};

// `source`: of the chat template. Without `reasons` only what a model can't go without.
Preamble preamble_of(const ReplyFormat& format, std::string_view source, bool reasons);

// Every text of the grammar begins with it from now on.
void begin_with(grammar::Grammar& grammar, const Preamble& preamble);

}  // namespace lm
