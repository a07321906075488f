// engine/cli/answer.h — the forms in which an answer leaves the program: text as it comes, one JSON
// object at the end, or one JSON event a line.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "engine/cli/output.h"
#include "engine/core/token.h"
#include "engine/runtime/engine.h"

namespace lm::cli {

// What an answer is told about besides its tokens.
struct AnswerHead {
  std::string model;  // as it was named
  uint64_t seed = 0;
  int prompt_tokens = 0;
  double load_seconds = 0;
};

struct AnswerEnd {
  Finish finish = Finish::none;
  Timings timings;
  std::string error;  // when finish is error
};

class Answer {
 public:
  virtual ~Answer() = default;
  virtual void begin() {}
  virtual void token(TokenId id, std::string_view text, float logprob) = 0;  // whole characters
  virtual void end(const AnswerEnd& end) = 0;
};

enum class AnswerForm { text, json, jsonl };
// `out` must outlive the answer.
std::unique_ptr<Answer> make_answer(AnswerForm form, AnswerHead head, Output& out);

}  // namespace lm::cli
