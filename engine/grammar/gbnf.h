// engine/grammar/gbnf.h — reads a grammar in GBNF, the form that the field writes grammars in.
// Source: ggml-org/llama.cpp grammars/README.md. More than that: an alternative may begin a line.
#pragma once
#include <string_view>

#include "engine/core/result.h"
#include "engine/grammar/grammar.h"

namespace lm::grammar {

// Rules of "name ::= expression", "root" being where texts start. An expression has alternatives
// (|), "text", [classes], [^negated], . for any character, (groups), names of rules, and the
// repetitions * + ? {m} {m,} {m,n}; # begins a comment. Escapes: \n \r \t \\ \" \[ \] \xHH \uHHHH
// \UHHHHHHHH. bad_file with line and column of a mistake.
Result<Grammar> parse_gbnf(std::string_view text);

}  // namespace lm::grammar
