// engine/grammar/limits.h — how large a grammar may become. Grammars come from outside: each limit
// turns what would take all memory or all day into one clear error. An everyday schema needs less
// than a hundredth of any of them.
#pragma once
#include <cstddef>

namespace lm::grammar {

constexpr size_t kMaxSchemaBytes = size_t{256} << 10;
constexpr size_t kMaxTextBytes = size_t{1} << 20;  // of a grammar or a schema
constexpr int kMaxNesting = 64;                    // groups inside groups
constexpr size_t kMaxNodes = size_t{1} << 19;      // of a grammar before it is compiled
constexpr size_t kMaxRules = size_t{1} << 15;
constexpr size_t kMaxProperties = 2000;            // of one object
constexpr size_t kMaxRepeat = 100'000;             // a repetition's count
constexpr size_t kMaxNfaSize = size_t{1} << 19;    // states, edges and jumps of one rule
constexpr size_t kMaxDfaStates = size_t{1} << 18;  // of all rules
constexpr size_t kMaxWork = size_t{1} << 24;  // steps of compiling one grammar; a second or two
constexpr size_t kMaxThreads = 512;           // readings of a text that are open at once
constexpr size_t kMaxTableBytes = size_t{96} << 20;  // of positions remembered while matching

}  // namespace lm::grammar
