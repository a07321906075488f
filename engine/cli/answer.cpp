#include "engine/cli/answer.h"

#include <cmath>

#include "engine/cli/terminal.h"
#include "engine/core/json.h"

namespace lm::cli {
namespace {

// The answer, and after it a line of JSON for each call of a tool. Reasoning that is shown is
// dimmed on a terminal, and stands between <think> and </think> elsewhere.
class TextAnswer final : public Answer {
 public:
  TextAnswer(bool show_reasoning, Output& out)
      : out_(out),
        terminal_(out.is_terminal()),
        styled_(may_style(out)),
        show_reasoning_(show_reasoning) {}

  void piece(const AnswerPiece& piece) override {
    if (show_reasoning_ && !piece.reasoning.empty()) {
      if (!reasoning_) write(styled_ ? "" : "<think>\n");
      reasoning_ = true;
      write_styled(piece.reasoning);
    }
    if (piece.content.empty()) return;
    end_reasoning();
    write(piece.content);
  }

  // A pipe gets the answer's bytes; a terminal's next prompt wants a line of its own.
  void end(const AnswerEnd& end) override {
    end_reasoning();
    for (const Json& call : calls_of(end.reply)) {
      if (!at_line_start_) write("\n");
      write(dump_json(call) + "\n");
    }
    if (terminal_ && !at_line_start_) out_.write("\n");
  }

 private:
  void write(std::string_view text) {
    if (text.empty()) return;
    at_line_start_ = text.back() == '\n';
    out_.write(terminal_ ? terminal_safe(text) : std::string(text));
  }
  void write_styled(std::string_view text) {
    if (styled_) out_.write("\x1b[2m");
    write(text);
    if (styled_) out_.write("\x1b[0m");
  }
  void end_reasoning() {
    if (!reasoning_) return;
    reasoning_ = false;
    write(styled_ ? "\n\n" : "\n</think>\n\n");
  }

  Output& out_;
  bool terminal_, styled_, show_reasoning_;
  bool reasoning_ = false, at_line_start_ = true;
};

double microsecond_rounded(double seconds) {
  return std::round(seconds * 1e6) / 1e6;
}

void add_end(Json& object, const AnswerHead& head, const AnswerEnd& end, bool timings = true) {
  object["finish"] = finish_name(end.finish);
  if (!end.error.empty()) object["error"] = end.error;
  object["prompt_tokens"] = head.prompt_tokens;
  if (timings) object["cached_tokens"] = end.timings.cached_tokens;
  object["dropped_tokens"] = end.timings.dropped_tokens;
  object["generated_tokens"] = end.timings.generated_tokens;
  if (timings) {
    object["drafted_tokens"] = end.timings.drafted_tokens;
    object["accepted_tokens"] = end.timings.accepted_tokens;
  }
  object["seed"] = head.seed;
  object["model"] = head.model;
  if (!timings) return;
  object["load_seconds"] = microsecond_rounded(head.load_seconds);
  object["queue_seconds"] = microsecond_rounded(end.timings.queue_seconds);
  object["prompt_seconds"] = microsecond_rounded(end.timings.prompt_seconds);
  object["first_token_seconds"] = microsecond_rounded(end.timings.first_token_seconds());
  object["generate_seconds"] = microsecond_rounded(end.timings.generate_seconds);
  object["seconds_per_token"] = microsecond_rounded(end.timings.seconds_per_token());
  object["read_gbps"] = std::round(end.timings.bytes_per_second() / 1e7) / 100;
}

void add_reply(Json& object, const Reply& reply) {
  if (!reply.reasoning.empty()) object["reasoning"] = reply.reasoning;
  if (!reply.calls.empty()) object["tool_calls"] = calls_of(reply);
}

class JsonAnswer final : public Answer {
 public:
  JsonAnswer(AnswerHead head, Output& out) : head_(std::move(head)), out_(out) {}

  void piece(const AnswerPiece&) override {}

  void end(const AnswerEnd& end) override {
    Json object;
    add_answer(object, head_, end, true);
    out_.write(dump_json(object) + "\n");
  }

 private:
  AnswerHead head_;
  Output& out_;
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
    Json object{{"event", "token"}, {"text", piece.content}};
    if (!piece.reasoning.empty()) object["reasoning"] = piece.reasoning;
    if (piece.token >= 0) {
      object["id"] = piece.token;
      object["logprob"] = piece.logprob;
      if (piece.drafted) object["drafted"] = true;
    }
    line(object);
  }

  void end(const AnswerEnd& end) override {
    Json object{{"event", "end"}};
    if (!end.reply.calls.empty()) object["tool_calls"] = calls_of(end.reply);
    add_end(object, head_, end);
    line(object);
  }

 private:
  void line(const Json& object) { out_.write(dump_json(object) + "\n"); }

  AnswerHead head_;
  Output& out_;
};

}  // namespace

Json calls_of(const Reply& reply) {
  Json calls = Json::array();
  for (const ToolCall& call : reply.calls) {
    Json entry;
    if (!call.id.empty()) entry["id"] = call.id;
    entry["name"] = call.name;
    const Result<Json> arguments = parse_json(closed_json(call.arguments));
    entry["arguments"] = arguments.ok() ? arguments.value() : Json(nullptr);
    entry["complete"] = call.complete;
    calls.push_back(std::move(entry));
  }
  return calls;
}

void add_answer(Json& object, const AnswerHead& head, const AnswerEnd& end, bool timings) {
  object["text"] = end.reply.content;
  add_reply(object, end.reply);
  add_end(object, head, end, timings);
}

std::unique_ptr<Answer> make_answer(AnswerForm form, AnswerHead head, bool show_reasoning,
                                    Output& out) {
  switch (form) {
    case AnswerForm::json:
      return std::make_unique<JsonAnswer>(std::move(head), out);
    case AnswerForm::jsonl:
      return std::make_unique<JsonlAnswer>(std::move(head), out);
    case AnswerForm::text:
      break;
  }
  return std::make_unique<TextAnswer>(show_reasoning, out);
}

}  // namespace lm::cli
