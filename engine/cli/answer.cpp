#include "engine/cli/answer.h"

#include <cmath>

#include "engine/cli/terminal.h"
#include "engine/core/json.h"

namespace lm::cli {
namespace {

class TextAnswer final : public Answer {
 public:
  explicit TextAnswer(Output& out) : out_(out), terminal_(out.is_terminal()) {}

  void piece(const AnswerPiece& piece) override {
    if (piece.text.empty()) return;
    at_line_start_ = piece.text.back() == '\n';
    out_.write(terminal_ ? terminal_safe(piece.text) : piece.text);
  }

  // A pipe gets the answer's bytes; a terminal's next prompt wants a line of its own.
  void end(const AnswerEnd&) override {
    if (terminal_ && !at_line_start_) out_.write("\n");
  }

 private:
  Output& out_;
  bool terminal_, at_line_start_ = true;
};

double microsecond_rounded(double seconds) {
  return std::round(seconds * 1e6) / 1e6;
}

void add_end(Json& object, const AnswerHead& head, const AnswerEnd& end) {
  object["finish"] = finish_name(end.finish);
  if (!end.error.empty()) object["error"] = end.error;
  object["prompt_tokens"] = head.prompt_tokens;
  object["cached_tokens"] = end.timings.cached_tokens;
  object["dropped_tokens"] = end.timings.dropped_tokens;
  object["generated_tokens"] = end.timings.generated_tokens;
  object["seed"] = head.seed;
  object["model"] = head.model;
  object["load_seconds"] = microsecond_rounded(head.load_seconds);
  object["queue_seconds"] = microsecond_rounded(end.timings.queue_seconds);
  object["prompt_seconds"] = microsecond_rounded(end.timings.prompt_seconds);
  object["first_token_seconds"] = microsecond_rounded(end.timings.first_token_seconds());
  object["generate_seconds"] = microsecond_rounded(end.timings.generate_seconds);
  object["seconds_per_token"] = microsecond_rounded(end.timings.seconds_per_token());
  object["read_gbps"] = std::round(end.timings.bytes_per_second() / 1e7) / 100;
}

class JsonAnswer final : public Answer {
 public:
  JsonAnswer(AnswerHead head, Output& out) : head_(std::move(head)), out_(out) {}

  void piece(const AnswerPiece& piece) override { text_ += piece.text; }

  void end(const AnswerEnd& end) override {
    Json object;
    object["text"] = text_;
    add_end(object, head_, end);
    out_.write(dump_json(object) + "\n");
  }

 private:
  AnswerHead head_;
  Output& out_;
  std::string text_;
};

class JsonlAnswer final : public Answer {
 public:
  JsonlAnswer(AnswerHead head, Output& out) : head_(std::move(head)), out_(out) {}

  void begin() override {
    line({{"event", "start"},
          {"model", head_.model},
          {"seed", head_.seed},
          {"prompt_tokens", head_.prompt_tokens}});
  }

  void piece(const AnswerPiece& piece) override {
    Json object{{"event", "token"}, {"text", piece.text}};
    if (piece.token >= 0) {
      object["id"] = piece.token;
      object["logprob"] = piece.logprob;
    }
    line(object);
  }

  void end(const AnswerEnd& end) override {
    Json object{{"event", "end"}};
    add_end(object, head_, end);
    line(object);
  }

 private:
  void line(const Json& object) { out_.write(dump_json(object) + "\n"); }

  AnswerHead head_;
  Output& out_;
};

}  // namespace

std::unique_ptr<Answer> make_answer(AnswerForm form, AnswerHead head, Output& out) {
  switch (form) {
    case AnswerForm::json:
      return std::make_unique<JsonAnswer>(std::move(head), out);
    case AnswerForm::jsonl:
      return std::make_unique<JsonlAnswer>(std::move(head), out);
    case AnswerForm::text:
      break;
  }
  return std::make_unique<TextAnswer>(out);
}

}  // namespace lm::cli
