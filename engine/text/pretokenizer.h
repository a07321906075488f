// engine/text/pretokenizer.h — cuts text into the words inside which byte-level BPE merges.
// A pre-tokenizer is a chain of regular expressions: each cuts every part that the one before left
// into its matches and what lies between them. Regexes see valid UTF-8 only; a run of invalid bytes
// is a word of its own.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"

namespace lm {

class Pretokenizer {
 public:
  // By the name in tokenizer.ggml.pre; unsupported when it is unknown: a wrong one would give
  // silently wrong ids.
  static Result<Pretokenizer> create(std::string_view name);
  Pretokenizer(Pretokenizer&&) noexcept;
  Pretokenizer& operator=(Pretokenizer&&) noexcept;
  ~Pretokenizer();

  // Appends the words of `text`, whose concatenation is `text`. Thread-safe.
  void split(std::string_view text, std::vector<std::string_view>& words) const;

  bool ignores_merges() const;  // a word that is itself a token is taken as it is
  bool adds_bos() const;        // unless the file says otherwise

  static std::string known_names();  // for messages: "default, gpt-2, ..."

 private:
  struct Impl;
  explicit Pretokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace lm
