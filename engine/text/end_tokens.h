// engine/text/end_tokens.h — which tokens end a generation. Files name one or two of them; the
// others are known by their spelling alone.
#pragma once
#include <span>
#include <string_view>

namespace lm {

// Spelled so, a token ends a generation and is a control token whatever type the file gives it: no
// text that people write looks like this.
std::span<const std::string_view> end_token_texts();

// Spelled so, it ends a generation when the file calls it a control token; otherwise it may be
// ordinary text ("</s>" strikes a word out in HTML).
std::span<const std::string_view> end_token_texts_if_control();

}  // namespace lm
