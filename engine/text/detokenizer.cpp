#include <utility>

#include "engine/core/utf8.h"
#include "engine/text/tokenizer.h"

namespace lm {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool at_start)
    : tokenizer_(&tokenizer), at_start_(at_start) {}

std::string Detokenizer::push(TokenId id) {
  held_ += tokenizer_->next_piece(id, at_start_);
  const size_t ready = utf8::complete_prefix(held_);
  std::string text = utf8::sanitize(std::string_view(held_).substr(0, ready));
  held_.erase(0, ready);
  return text;
}

std::string Detokenizer::finish() {
  return utf8::sanitize(std::exchange(held_, {}));
}

}  // namespace lm
