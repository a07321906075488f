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
  // After read(); nullptr when nothing was asked.
  const std::shared_ptr<const AnswerGrammar>& compiled() const { return grammar_; }

 private:
  std::optional<std::string> grammar_file_, schema_file_;
  std::shared_ptr<const AnswerGrammar> grammar_;
};

}  // namespace lm::cli
