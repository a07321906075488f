#include "engine/cli/grammar_options.h"

#include <utility>

#include "engine/core/file.h"
#include "engine/core/text.h"

namespace lm::cli {

void GrammarOptions::declare(Options& options) {
  options.text("--json-schema", "FILE", schema_file_,
               "the answer is JSON that satisfies the schema in FILE (draft 2020-12)");
  options.text("--grammar", "FILE", grammar_file_,
               "the answer follows the grammar in FILE, in GBNF, to its end");
}

Status GrammarOptions::read() {
  if (!asked()) return ok();
  if (grammar_file_ && schema_file_) {
    return Error{ErrorCode::bad_request, "expected either --grammar or --json-schema, found both"};
  }
  const std::string& path = schema_file_ ? *schema_file_ : *grammar_file_;
  const std::string text = LM_TRY(read_file(path, kMaxGrammarBytes));
  Result<AnswerGrammar> compiled =
      schema_file_ ? AnswerGrammar::from_json_schema(text) : AnswerGrammar::from_gbnf(text);
  if (!compiled.ok()) return std::move(compiled).error().within(printable(path));
  grammar_ = std::make_shared<const AnswerGrammar>(std::move(compiled).value());
  return ok();
}

}  // namespace lm::cli
