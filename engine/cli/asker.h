// engine/cli/asker.h — from a conversation to a request: the model's chat template, ids, sampling.
#pragma once
#include <optional>
#include <string>

#include "engine/cli/generation_options.h"
#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/runtime/engine.h"
#include "engine/text/chat_template.h"
#include "engine/text/reply_format.h"

namespace lm::cli {

struct Question {
  Request request;
  std::optional<ReplyFormat> format;  // nullopt: the answer is text and nothing else
};

class Asker {
 public:
  // The model needs a vocabulary. `instance` and `options` must outlive this.
  static Result<Asker> open(const Instance& instance, const GenerationOptions& options);

  bool has_template() const { return template_.has_value(); }
  SamplingParams& sampling() { return sampling_; }  // of the next requests

  // What comes after `messages`, [{"role": ..., "content": ...}, ...]. Without a template their
  // texts are continued, a question on a line of its own.
  Result<Question> ask(const Json& messages) const;

 private:
  Asker(const Instance& instance, const GenerationOptions& options);

  Status encode(const Json& messages, Question& question) const;

  const Instance* instance_;
  const GenerationOptions* options_;
  std::optional<ChatTemplate> template_;
  Json tools_ = nullptr;
  SamplingParams sampling_;
  std::shared_ptr<const grammar::TokenGrammar> grammar_;  // nullptr: any answer
};

}  // namespace lm::cli
