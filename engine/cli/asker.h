// engine/cli/asker.h — from a conversation to a request: the model's chat template, ids, sampling.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/cli/generation_options.h"
#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/runtime/engine.h"
#include "engine/runtime/grammar_request.h"
#include "engine/text/chat_template.h"
#include "engine/text/reply_format.h"

namespace lm::cli {

struct Question {
  Request request;
  std::optional<ReplyFormat> format;  // nullopt: the answer is text and nothing else
};

// How a question is asked: as the command line says, or changed for this one.
struct Terms {
  SamplingParams sampling;
  int max_tokens = -1;
  std::vector<std::string> stop;
  std::shared_ptr<const AnswerGrammar> grammar;  // nullptr: any answer
  Json tools = nullptr;
  bool ignore_end = false;
};

class Asker {
 public:
  // The model needs a vocabulary. `instance` and `options` must outlive this.
  static Result<Asker> open(const Instance& instance, const GenerationOptions& options);

  bool has_template() const { return template_.has_value(); }
  SamplingParams& sampling() { return sampling_; }  // of the next requests

  // What comes after `messages`, [{"role": ..., "content": ...}, ...]. Without a template their
  // texts are continued, a question on a line of its own.
  Result<Question> ask(const Json& messages) { return ask(messages, terms()); }
  Result<Question> ask(const Json& messages, const Terms& terms);
  Terms terms() const;  // the usual ones

 private:
  Asker(const Instance& instance, const GenerationOptions& options);

  Status encode(const Json& messages, const Json& tools, Question& question) const;
  Result<std::shared_ptr<const grammar::TokenGrammar>> bind(
      const std::shared_ptr<const AnswerGrammar>& wanted, const Preamble& preamble,
      const std::vector<TokenId>& spelled);
  Status hold_to_form(const std::shared_ptr<const AnswerGrammar>& form, Question& question);

  const Instance* instance_;
  const GenerationOptions* options_;
  std::optional<ChatTemplate> template_;
  Json tools_ = nullptr;
  SamplingParams sampling_;
  // Once a grammar was asked for; the tokens that are spelled in it.
  std::shared_ptr<const grammar::Vocabulary> vocabulary_;
  std::vector<TokenId> spelled_;
  // Grammars over this model's tokens: those that were asked for last.
  struct Bound {
    std::shared_ptr<const AnswerGrammar> grammar;
    Preamble preamble;
    std::vector<TokenId> spelled;
    std::shared_ptr<const grammar::TokenGrammar> tokens;
  };
  std::vector<Bound> bound_;
};

}  // namespace lm::cli
