// engine/cli/grammar_options.h — --grammar and --json-schema: what an answer must look like.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "engine/cli/options.h"
#include "engine/core/result.h"
#include "engine/runtime/grammar_request.h"

namespace lm::cli {

class GrammarOptions {
 public:
  void declare(Options& options);

  bool asked() const { return grammar_file_ || schema_file_; }
  // Reads and compiles the file, before a model is loaded.
  Status read();
  // Over the tokens of a model, after read(). nullptr when nothing was asked.
  Result<std::shared_ptr<const grammar::TokenGrammar>> bind(const Tokenizer& tokenizer) const;

 private:
  std::optional<std::string> grammar_file_, schema_file_;
  std::optional<AnswerGrammar> grammar_;
};

}  // namespace lm::cli
