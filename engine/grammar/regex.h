// engine/grammar/regex.h — regular expressions as JSON Schema's "pattern" means them: found
// anywhere in a text unless ^ and $ say otherwise.
// Source: ECMA-262 (2023) section 22.2, with the u flag, without what no automaton can do
// (back-references, look-around) and without \b, \B and \p.
#pragma once
#include <string_view>

#include "engine/core/result.h"
#include "engine/grammar/automata.h"

namespace lm::grammar {

// Over characters. bad_file on a mistake, unsupported on what is left out or too large.
Result<Dfa> compile_regex(std::string_view pattern, Work& work);

}  // namespace lm::grammar
