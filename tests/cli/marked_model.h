// tests/cli/marked_model.h — a tiny model that can be made to say a given text: the text is a token
// of its own, and a logit bias makes it come.
#pragma once
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/file.h"
#include "tests/reference/tiny_model.h"
#include "tests/support/support.h"

namespace lm::test {

// A model whose vocabulary ends with these tokens; bias() makes the first of them come.
struct Marked {
  TempDir folder;
  std::string path = (folder.path() / "marked.gguf").string();
  int first = 0;

  Marked(const std::string& chat_template, const std::vector<std::string>& tokens) {
    TinyFile file = write_tiny_model(tiny_model("llama"));
    require_ok(file.save(path));
    std::vector<std::string> pieces;
    const gguf::File written = require_ok(gguf::File::open(path));
    for (const std::string_view piece : require_ok(written.strs("tokenizer.ggml.tokens"))) {
      pieces.emplace_back(piece);
    }
    first = int(pieces.size() - tokens.size());
    std::copy(tokens.begin(), tokens.end(), pieces.begin() + first);
    file.writer.set_strs("tokenizer.ggml.tokens", pieces);
    file.writer.set_str("tokenizer.chat_template", chat_template);
    require_ok(file.save(path));
  }
  std::string bias(int i = 0) const { return std::to_string(first + i) + "=1000"; }
};

}  // namespace lm::test
