#include "engine/runtime/preamble.h"

#include "engine/core/text.h"
#include "engine/core/utf8.h"
#include "engine/grammar/automata.h"

namespace lm {
namespace {

using grammar::ExprId;
using grammar::Grammar;

constexpr uint32_t kLastChar = 0x10FFFF;
constexpr uint32_t kMostSpaces = 8;  // between a mark and what follows: more would help nobody

ExprId text_up_to(Grammar& g, std::string_view mark) {
  std::u32string symbols;
  while (!mark.empty()) {
    const utf8::Decoded d = utf8::decode(mark);
    symbols += d.code_point;
    mark.remove_prefix(size_t(d.length));
  }
  return g.regular(grammar::up_to(symbols, kLastChar));
}

// After the prompt's "<|start|>assistant".
ExprId channels(Grammar& g) {
  const ExprId analysis =
      g.sequence({g.text(concat(marks::kChannel, "analysis", marks::kMessage)),
                  text_up_to(g, marks::kEnd), g.text(concat(marks::kStart, "assistant"))});
  return g.sequence({g.optional(analysis), g.text(concat(marks::kChannel, "final")),
                     g.optional(g.text(concat(" ", marks::kConstrain, "json"))),
                     g.text(marks::kMessage)});
}

ExprId reasoning(Grammar& g, const Preamble& preamble) {
  const auto space = [&] {
    return g.repeat(g.chars(grammar::CharSet({{' ', ' '}, {'\n', '\n'}})), 0, kMostSpaces);
  };
  const ExprId rest = g.sequence({text_up_to(g, preamble.end), space()});
  if (preamble.begin.empty()) return rest;
  return g.optional(g.sequence({space(), g.text(preamble.begin), rest}));
}

}  // namespace

Preamble preamble_of(const ReplyFormat& format, std::string_view source, bool reasons) {
  if (format.channels) return {.channels = true};
  if (!reasons) return {};
  if (!format.reasoning_end.empty()) return {.end = format.reasoning_end};
  for (const ReasoningTags& tags : reasoning_tags()) {
    if (source.find(tags.end) != std::string_view::npos) {
      return {.begin = std::string(tags.begin), .end = std::string(tags.end)};
    }
  }
  return {};
}

void begin_with(Grammar& grammar, const Preamble& preamble) {
  if (preamble.empty()) return;
  grammar.begin_with(preamble.channels ? channels(grammar) : reasoning(grammar, preamble));
}

}  // namespace lm
