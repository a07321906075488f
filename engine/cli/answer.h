// engine/cli/answer.h — the forms in which an answer leaves the program: text as it comes, one JSON
// object at the end, or one JSON event a line.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/cli/output.h"
#include "engine/core/json.h"
#include "engine/core/token.h"
#include "engine/runtime/engine.h"
#include "engine/text/reply_parser.h"

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
  std::string error;                         // when finish is error,
  ErrorCode error_code = ErrorCode::device;  // and its kind
  Reply reply;                               // all of it, taken apart
};

// What one token brings.
struct AnswerPiece {
  TokenId token;     // -1: the end brought text that was held back
  std::string text;  // whole characters
  float logprob;
  bool drafted;                           // foreseen by a draft
  std::vector<TokenChance> alternatives;  // see Request::n_alternatives
  // What this adds to the answer and to the reasoning before it; a mark adds to neither.
  std::string content{}, reasoning{};
};

class Answer {
 public:
  virtual ~Answer() = default;
  virtual void begin() {}
  virtual void piece(const AnswerPiece& piece) = 0;
  virtual void end(const AnswerEnd& end) = 0;
};

// [{"name": ..., "arguments": ..., "complete": ...}]: what was called, as far as it was written.
Json calls_of(const Reply& reply);

// The fields of --json; without `timings`, only what the same question and seed give again.
void add_answer(Json& object, const AnswerHead& head, const AnswerEnd& end, bool timings);

enum class AnswerForm { text, json, jsonl };
// `out` must outlive the answer. show_reasoning: in the form of text.
std::unique_ptr<Answer> make_answer(AnswerForm form, AnswerHead head, bool show_reasoning,
                                    Output& out);

}  // namespace lm::cli
