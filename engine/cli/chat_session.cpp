// The loop of the chat: read, ask, answer, keep.
#include "engine/cli/chat_session.h"

#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <utility>

#include "engine/cli/chat_messages.h"
#include "engine/cli/generate.h"
#include "engine/cli/model_options.h"
#include "engine/cli/statistics.h"
#include "engine/cli/terminal.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

constexpr int kAlternatives = 8;  // of each token, for /probs
constexpr std::string_view kQuotes = "\"\"\"";

std::optional<chat::Store> open_store(const ChatOptions& options) {
  if (options.no_history) return std::nullopt;
  const std::filesystem::path folder =
      chat::data_folder(std::getenv("XDG_DATA_HOME"), std::getenv("HOME"));
  if (folder.empty()) return std::nullopt;
  return chat::Store(folder);
}

// Shows an answer as it comes, and remembers it.
class ChatAnswer final : public Answer {
 public:
  ChatAnswer(ChatScreen& screen, bool show_reasoning, std::vector<AnswerPiece>& pieces)
      : screen_(screen), show_reasoning_(show_reasoning), pieces_(pieces) {
    pieces_.clear();
  }

  void begin() override { screen_.begin_answer(); }
  void piece(const AnswerPiece& piece) override {
    if (show_reasoning_) screen_.reasoning_text(piece.reasoning);
    screen_.answer_text(piece.content);
    if (piece.token >= 0) pieces_.push_back(piece);
  }
  void end(const AnswerEnd&) override { screen_.end_answer(); }

 private:
  ChatScreen& screen_;
  bool show_reasoning_;
  std::vector<AnswerPiece>& pieces_;
};

}  // namespace

void ChatOptions::declare(Options& options) {
  options.group("Chat");
  options.flag("-c,--continue", continue_last, "go on with the last conversation");
  options.flag("--no-history", no_history, "keep nothing of the conversation");
  options.setting();
}

bool can_chat() {
  return isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
}

Result<ExitStatus> chat(const Context& context, GenerationOptions generation,
                        const ChatOptions& options, std::optional<std::string> first) {
  ChatSession session(context, std::move(generation), options);
  LM_TRY(session.start(options));
  return session.talk(std::move(first));
}

ChatSession::ChatSession(const Context& context, GenerationOptions generation,
                         const ChatOptions& options)
    : context_(context),
      generation_(std::move(generation)),
      screen_(context.out),
      record_(open_store(options)) {}

Status ChatSession::start(const ChatOptions& options) {
  LM_TRY(generation_.check());
  std::string remark;
  if (options.continue_last) remark = LM_TRY(record_.open_last());
  if (generation_.system) record_.set_system(generation_.system);
  LM_TRY(load_model());
  const auto names = [](std::string_view word) { return chat::completions(word); };
  editor_ = LM_TRY(LineEditor::open(context_.signals, names));
  context_.signals.hold();  // from here on Ctrl-C has another meaning
  const ModelConfig& config = engine_->instance().config();
  if (!generation_.quiet) {
    screen_.notice(concat(printable(generation_.model.model.path.value_or("")), " (",
                          printable(config.family), "), context ", engine_->instance().n_ctx(),
                          " tokens (", memory_text_, "); /help lists the commands"));
  }
  if (!remark.empty()) warn(remark);
  for (const chat::Message& message : record_.conversation().messages()) {
    if (message.role == chat::Role::user) editor_->remember(message.content);
  }
  if (options.continue_last) show_position();
  return ok();
}

// Where this fails there is no engine: it must not pass for a command that ran out of memory.
Status ChatSession::load_model() {
  try {
    return start_engine();
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::out_of_memory, "expected more memory than this process can get"};
  }
}

Status ChatSession::start_engine() {
  const InstanceOptions instance_options = LM_TRY(generation_.model.instance_options());
  OpenedModel opened =
      LM_TRY(open_model(context_, instance_options, generation_.draft, !generation_.quiet));
  std::unique_ptr<Instance> instance = std::move(opened.instance);
  if (instance->weights_in_file()) {
    warn("the weights are larger than the available memory: they are read from the file, slowly");
  }
  memory_text_ = concat("KV cache ", human_bytes(instance->kv_bytes()), draft_text(opened));
  asker_.reset();
  asker_ = LM_TRY(Asker::open(*instance, generation_));
  engine_ =
      Engine::start(std::move(instance), {.disk = generation_.cache.open(true, generation_.quiet),
                                          .speculation = std::move(opened.speculation)});
  return ok();
}

ExitStatus ChatSession::talk(std::optional<std::string> first) {
  if (first) ask(std::move(*first));
  while (status_ == ExitStatus::ok && context_.out.ok()) {
    const std::optional<std::string> line = read_message();
    if (!line || handle(*line) == Next::leave) break;
  }
  return status_;
}

std::optional<std::string> ChatSession::read_message() {
  for (bool leaving = false;;) {
    TypedLine line = editor_->read("> ");
    switch (line.kind) {
      case TypedLine::Kind::text:
        if (line.text.starts_with(kQuotes)) return read_quoted(line.text.substr(kQuotes.size()));
        return std::move(line.text);
      case TypedLine::Kind::end:
        screen_.prompt_ended();
        return std::nullopt;
      case TypedLine::Kind::signal:
        screen_.prompt_ended();
        status_ = exit_status_of_signal(pending_signal());
        return std::nullopt;
      case TypedLine::Kind::interrupted:
        screen_.prompt_ended();
        if (leaving) {
          status_ = ExitStatus::interrupted;
          return std::nullopt;
        }
        screen_.notice("Ctrl-C again leaves, as Ctrl-D and /quit do");
        leaving = true;
        break;
    }
  }
}

// What follows """ up to the next """, over as many lines as it takes. Ctrl-C gives it up.
std::optional<std::string> ChatSession::read_quoted(std::string text) {
  while (text.find(kQuotes) == std::string::npos) {
    const TypedLine line = editor_->read("… ");
    if (line.kind == TypedLine::Kind::text) {
      text += "\n" + line.text;
      continue;
    }
    screen_.prompt_ended();
    if (line.kind == TypedLine::Kind::interrupted) return std::string();
    if (line.kind == TypedLine::Kind::signal) status_ = exit_status_of_signal(pending_signal());
    return std::nullopt;
  }
  text.erase(text.find(kQuotes), kQuotes.size());
  if (text.starts_with('\n')) text.erase(0, 1);
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

ChatSession::Next ChatSession::handle(const std::string& line) {
  if (line.find_first_not_of(" \t\n") == std::string::npos) return Next::go_on;
  editor_->remember(line);
  try {
    Result<chat::Input> input = chat::parse_input(line);
    if (!input.ok()) {
      screen_.problem(input.error());
    } else if (input.value().command) {
      return run(input.value());
    } else {
      ask(std::move(input).value().text);
    }
  } catch (const std::bad_alloc&) {
    screen_.problem({ErrorCode::out_of_memory, "expected more memory than this process can get"});
  }
  return Next::go_on;
}

void ChatSession::ask(std::string question) {
  const chat::Conversation& conversation = record_.conversation();
  const chat::Message* last = conversation.find(conversation.current());
  // A question that never got an answer is asked another way.
  if (last != nullptr && last->role == chat::Role::user) record_.go_to(last->parent);
  if (!attached_.empty()) question = concat(std::exchange(attached_, {}), "\n\n", question);
  record_.say({.role = chat::Role::user, .content = std::move(question)});
  answer();
}

// Answers the current message: a question, or the last result of the tools that were called.
void ChatSession::answer() {
  const chat::Conversation& conversation = record_.conversation();
  const int question = conversation.current();
  const int unanswered = conversation.find(question)->parent;
  Result<Question> asked = asker_->ask(chat_messages(conversation));
  if (!asked.ok()) {
    screen_.problem(asked.error());
    record_.go_to(unanswered);
    return;
  }
  asked.value().request.n_alternatives = kAlternatives;
  asked.value().request.sampling.seed += conversation.replies(question).size();  // another answer
  ChatAnswer shown(screen_, generation_.think != Think::hide, last_answer_);
  Result<AnswerEnd> ended = generate(*engine_, std::move(asked).value(), shown, context_);
  if (!ended.ok()) {
    Error error = std::move(ended).error();
    screen_.problem(error.code == ErrorCode::context_full
                        ? with_hint(std::move(error),
                                    "/new begins anew, /goto goes back; a larger --ctx makes room")
                        : std::move(error));
    record_.go_to(unanswered);
    return;
  }
  const AnswerEnd& end = ended.value();
  shown.end(end);
  if (end.finish == Finish::error) screen_.problem({end.error_code, end.error});
  const bool stopped = pending_signal() == SIGINT;
  if (stopped) context_.signals.forget();
  if (pending_signal() != 0) status_ = exit_status_of_signal(pending_signal());
  const Reply& reply = end.reply;
  const bool is_empty = reply.content.empty() && reply.reasoning.empty() && reply.calls.empty();
  if (is_empty && end.finish != Finish::stop) {
    record_.go_to(unanswered);
    if (stopped) screen_.notice("stopped before the answer began");
    return;
  }
  record_.say({.role = chat::Role::assistant,
               .content = reply.content,
               .reasoning = reply.reasoning,
               .finish = std::string(finish_name(end.finish)),
               .calls = reply.calls.empty() ? "" : dump_json(calls_of(reply))});
  show_calls();
  show_status(end);
}

void ChatSession::show_status(const AnswerEnd& end) {
  const Timings& t = end.timings;
  if (!generation_.quiet) warn_of_shift(t);
  total_.prompt_tokens += t.read_tokens - t.cached_tokens;
  total_.cached_tokens += t.cached_tokens;
  total_.generated_tokens += t.generated_tokens;
  total_.drafted_tokens += t.drafted_tokens;
  total_.accepted_tokens += t.accepted_tokens;
  total_.queue_seconds += t.queue_seconds;
  total_.prompt_seconds += t.prompt_seconds;
  total_.generate_seconds += t.generate_seconds;
  ++n_answers_;
  const int n_ctx = engine_->instance().n_ctx();
  const int used = t.prompt_tokens + t.generated_tokens;
  std::array<char, 160> line;
  std::snprintf(line.data(), line.size(), "%.1f tokens/s, context %d of %d (%d %%)",
                tokens_per_second(t), used, n_ctx, int(100.0 * used / n_ctx));
  std::string text = line.data();
  if (t.cached_tokens > 0) {
    text += concat(", ", t.cached_tokens, " of ", t.prompt_tokens, " tokens of it from the cache");
  }
  if (end.finish == Finish::cancelled) text += "; stopped";
  if (end.finish == Finish::length) text += "; cut off: the limit of tokens was reached";
  if (!generation_.quiet) screen_.notice(text);
}

}  // namespace lm::cli
