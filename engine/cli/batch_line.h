// engine/cli/batch_line.h — a line of --prompts: what is asked, and what is asked otherwise than
// the command line says. The names of the fields are those of the OpenAI API where it has them.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/cli/asker.h"
#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/runtime/grammar_request.h"

namespace lm::cli {

inline constexpr size_t kMaxLineBytes = 16 << 20;

struct BatchLine {
  Json id = nullptr;  // a string or a number that comes back with the answer; null: none
  Json messages = Json::array();
  Terms terms;
};

class BatchLineParser {
 public:
  // `usual`: where a line says nothing else; `text_only`: the model has no chat template.
  BatchLineParser(Terms usual, std::optional<std::string> system, bool text_only);

  // Line number `number`, from 1; without a seed of its own it takes the usual one + number - 1.
  // bad_request, and `id` is set as far as it was understood.
  Result<BatchLine> parse(std::string_view text, uint64_t number, Json& id);

 private:
  Status take_field(const std::string& name, const Json& value, BatchLine& line);
  Status take_form(const std::string& name, const Json& value, Terms& terms);
  Status take_messages(const Json& object, BatchLine& line) const;
  Result<std::shared_ptr<const AnswerGrammar>> compile(const std::string& name,
                                                       const std::string& text);

  Terms usual_;
  std::optional<std::string> system_;
  bool text_only_;
  // Lines often ask for the same form: the last ones stay compiled.
  std::vector<std::pair<std::string, std::shared_ptr<const AnswerGrammar>>> compiled_;
};

}  // namespace lm::cli
