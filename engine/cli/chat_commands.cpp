// The commands of the chat.
#include <algorithm>
#include <cmath>

#include "engine/chat/tree_view.h"
#include "engine/cli/chat_messages.h"
#include "engine/cli/chat_session.h"
#include "engine/cli/external_editor.h"
#include "engine/cli/statistics.h"
#include "engine/cli/terminal.h"
#include "engine/core/file.h"
#include "engine/core/machine.h"
#include "engine/core/text.h"
#include "engine/core/utf8.h"

namespace lm::cli {
namespace {

constexpr uint64_t kMaxAttachedBytes = 16 << 20;

std::string first_line(std::string_view text) {
  return printable(text.substr(0, text.find('\n')), 60);
}

Error expected(std::string_view what, std::string_view found) {
  return {ErrorCode::bad_request,
          concat("expected ", what, ", found \"", printable(found, 40), "\"")};
}

std::string percent(float logprob) {
  std::array<char, 16> text;
  std::snprintf(text.data(), text.size(), "%5.1f %%", 100 * std::exp(double(logprob)));
  return text.data();
}

}  // namespace

ChatSession::Next ChatSession::run(const chat::Input& input) {
  using chat::Command;
  switch (*input.command) {
    case Command::help:
      help();
      break;
    case Command::system:
      system(input.text);
      break;
    case Command::edit:
      edit();
      break;
    case Command::undo:
      undo();
      break;
    case Command::regenerate:
      regenerate();
      break;
    case Command::branch:
      branch(input.text);
      break;
    case Command::go_to:
      go_to(input.text);
      break;
    case Command::tree:
      tree();
      break;
    case Command::tool:
      tool(input.text);
      break;
    case Command::save:
      save(input.text);
      break;
    case Command::load:
      load(input.text);
      break;
    case Command::start_new:
      record_.start_new();
      screen_.notice("a new conversation");
      break;
    case Command::set:
      set(input.text);
      break;
    case Command::stats:
      stats();
      break;
    case Command::probs:
      probs(input.text);
      break;
    case Command::model:
      model(input.text);
      break;
    case Command::file:
      attach(input.text);
      break;
    case Command::image:
      screen_.notice("images are not supported: this program reads and writes text");
      break;
    case Command::quit:
      return Next::leave;
  }
  return Next::go_on;
}

void ChatSession::help() {
  std::string text;
  for (const chat::CommandInfo& info : chat::commands()) {
    text += help_row(concat("/", info.name, " ", info.argument), info.summary);
  }
  text += help_row("\"\"\"", "begins a message of several lines, and ends it");
  text += help_row("Alt-Enter", "a new line in the message");
  text += help_row("Ctrl-C", "stops the answer; twice leaves");
  text += help_row("Tab, Ctrl-R, Up", "complete a command; search or step through what was typed");
  text.pop_back();
  screen_.notice(text);
}

void ChatSession::system(const std::string& text) {
  if (text.empty()) {
    const std::optional<std::string>& system = record_.conversation().system();
    screen_.notice(system ? concat("system prompt: ", *system) : "there is no system prompt");
    return;
  }
  record_.set_system(text == "-" ? std::nullopt : std::optional(text));
  if (!asker_->has_template()) {
    screen_.notice("this model has no chat template: it does not see the system prompt");
  }
}

void ChatSession::edit() {
  const chat::Message* question = record_.conversation().last(chat::Role::user);
  const std::string before = question != nullptr ? question->content : std::string();
  Result<std::string> text = edit_externally(before);
  if (!text.ok()) return screen_.problem(text.error());
  if (text.value().empty() || text.value() == before) {
    return screen_.notice("nothing was changed, so nothing is asked");
  }
  if (question != nullptr) record_.go_to(question->parent);
  screen_.notice(concat("> ", text.value()));
  editor_->remember(text.value());
  ask(std::move(text).value());
}

void ChatSession::undo() {
  const chat::Message* question = record_.conversation().last(chat::Role::user);
  if (question == nullptr) return screen_.notice("there is nothing to take back");
  const std::string what = first_line(question->content);
  record_.go_to(question->parent);
  screen_.notice(concat("took back: ", what));
}

void ChatSession::regenerate() {
  const chat::Message* question = record_.conversation().last(chat::Role::user);
  if (question == nullptr) return screen_.notice("there is no question to answer again");
  record_.go_to(question->id);
  answer();
}

void ChatSession::branch(const std::string& number) {
  const chat::Conversation& conversation = record_.conversation();
  const std::vector<int> tips = conversation.tips();
  if (!number.empty()) {
    const std::optional<int64_t> n = parse_int(number);
    if (!n || *n < 1 || size_t(*n) > tips.size()) {
      return screen_.problem(expected(concat("a branch from 1 to ", tips.size()), number));
    }
    record_.go_to(tips[size_t(*n) - 1]);
    return show_position();
  }
  if (tips.empty()) return screen_.notice("there are no messages yet");
  for (size_t i = 0; i < tips.size(); ++i) {
    const chat::Message& tip = *conversation.find(tips[i]);
    screen_.notice(concat(tip.id == conversation.current() ? "* " : "  ", i + 1, ": ",
                          conversation.path_to(tip.id).size(),
                          " messages, the last: ", first_line(tip.content)));
  }
}

void ChatSession::go_to(const std::string& number) {
  const std::optional<int64_t> id = parse_int(number);
  const chat::Conversation& conversation = record_.conversation();
  if (!id || *id < 0 || *id > INT32_MAX || !record_.go_to(int(*id))) {
    return screen_.problem(
        expected("the number of a message, see /tree (0: before the first)", number));
  }
  const chat::Message* message = conversation.find(conversation.current());
  if (message != nullptr && message->role == chat::Role::user) {
    screen_.notice("a question: /regenerate answers it, another question takes its place");
  }
  show_position();
}

void ChatSession::show_position() {
  const chat::Conversation& conversation = record_.conversation();
  const std::vector<const chat::Message*> path = conversation.path();
  if (path.empty()) return screen_.notice("before the first message");
  if (path.size() > 2) screen_.notice(concat("(", path.size() - 2, " messages before)"));
  for (size_t i = path.size() - std::min<size_t>(path.size(), 2); i < path.size(); ++i) {
    if (path[i]->role != chat::Role::assistant) {
      screen_.notice(concat(path[i]->role == chat::Role::tool ? "tool: " : "> ", path[i]->content));
    } else {
      screen_.begin_answer();
      screen_.answer_text(path[i]->content);
      screen_.end_answer();
    }
  }
  show_calls();
}

void ChatSession::tree() {
  if (record_.conversation().empty()) return screen_.notice("there are no messages yet");
  screen_.notice(chat::tree_text(record_.conversation(), screen_.columns() - 1));
}

// The calls of the current message that have no result yet.
void ChatSession::show_calls() {
  const std::vector<Json> open = open_calls(record_.conversation());
  for (const Json& call : open) {
    screen_.notice(concat("calls ", printable(call["name"].get_ref<const std::string&>(), 200), " ",
                          dump_json(call["arguments"])));
  }
  if (!open.empty()) screen_.notice("/tool RESULT says what the first of them returned");
}

void ChatSession::tool(const std::string& result) {
  const size_t n_open = open_calls(record_.conversation()).size();
  if (n_open == 0) return screen_.notice("no tool was called that has no result yet");
  if (!result.empty()) {
    record_.say({.role = chat::Role::tool, .content = result});
    if (n_open == 1) return answer();
  }
  show_calls();
}

void ChatSession::save(const std::string& path) {
  if (path.empty()) {
    return screen_.problem({ErrorCode::bad_request, "expected the name of a file, found none"});
  }
  const Status saved = record_.save(path);
  if (!saved.ok()) return screen_.problem(saved.error());
  screen_.notice(concat("saved as ", printable(path, 200)));
}

void ChatSession::load(const std::string& name) {
  const bool is_file = name.find_first_not_of("0123456789-") != std::string::npos;
  const Result<std::string> remark = is_file ? record_.open_file(name) : record_.open(name);
  if (!remark.ok()) return screen_.problem(remark.error());
  if (!remark.value().empty()) warn(remark.value());
  show_position();
}

void ChatSession::set(const std::string& assignment) {
  const size_t end = std::min(assignment.find_first_of(" ="), assignment.size());
  std::string name = assignment.substr(0, end);
  std::replace(name.begin(), name.end(), '_', '-');
  const size_t begin = assignment.find_first_not_of(" =", end);
  if (begin != std::string::npos) {
    const Status done = set_value(name, assignment.substr(begin));
    if (!done.ok()) screen_.problem(done.error());
    return;
  }
  std::string text =
      concat("n ", generation_.max_tokens, "\nthink ", think_name(generation_.think), "\nmarkdown ",
             screen_.markdown() ? "on" : "off", "\nseed ", asker_->sampling().seed);
  for (const std::string_view known : sampling_names()) {
    text += concat("\n", known, " ", sampling_value(asker_->sampling(), known).value_or(""));
  }
  screen_.notice(text);
}

Status ChatSession::set_value(const std::string& name, const std::string& value) {
  if (name == "n") {
    generation_.max_tokens = int(LM_TRY(integer_in(value, -1, INT32_MAX)));
  } else if (name == "think") {
    generation_.think = LM_TRY(think_from_name(value));
  } else if (name == "markdown") {
    if (value != "on" && value != "off") return expected("on or off", value);
    screen_.set_markdown(value == "on");
  } else if (name == "seed") {
    asker_->sampling().seed = uint64_t(LM_TRY(integer_in(value, 0, INT64_MAX)));
  } else {
    LM_TRY(set_sampling(asker_->sampling(), name, value));
  }
  return ok();
}

void ChatSession::stats() {
  const auto rate = [](int tokens, double seconds) {
    return seconds > 0 ? int64_t(tokens / seconds) : 0;
  };
  std::array<char, 64> wait;
  std::snprintf(wait.data(), wait.size(), "%.3f",
                total_.first_token_seconds() / std::max(n_answers_, 1));
  screen_.notice(
      concat(n_answers_, " answers; ", total_.prompt_tokens, " tokens read (",
             rate(total_.prompt_tokens, total_.prompt_seconds), " per second), ",
             total_.cached_tokens, " from the cache, ", total_.generated_tokens, " generated (",
             rate(std::max(total_.generated_tokens - n_answers_, 0), total_.generate_seconds),
             " per second)",
             drafts_text(uint64_t(total_.accepted_tokens), uint64_t(total_.drafted_tokens)),
             "; first token after ", wait.data(), " s on average; peak memory ",
             human_bytes(peak_rss()), record_.id().empty() ? "" : "; kept as " + record_.id()));
}

void ChatSession::probs(const std::string& number) {
  const std::optional<int64_t> n = number.empty() ? 5 : parse_int(number);
  if (!n || *n < 1) return screen_.problem(expected("how many alternatives", number));
  if (last_answer_.empty()) return screen_.notice("there is no answer yet in this session");
  const Tokenizer& tokenizer = *engine_->instance().tokenizer();
  const auto spelled = [&](TokenId id) {
    const std::string_view piece = tokenizer.piece(id);
    return dump_json(Json(utf8::sanitize(piece.empty() ? tokenizer.text(id) : piece)));
  };
  for (const AnswerPiece& piece : last_answer_) {
    std::string line = concat(percent(piece.logprob), " ", spelled(piece.token), "   ");
    int64_t shown = 0;
    for (const TokenChance& other : piece.alternatives) {
      if (other.token == piece.token || shown++ >= *n) continue;
      line += concat(" ", percent(other.logprob), " ", spelled(other.token));
    }
    screen_.notice(line);
  }
}

void ChatSession::model(const std::string& path) {
  if (path.empty()) {
    return screen_.notice(concat(printable(generation_.model.model.path.value_or(""), 1000), ", ",
                                 engine_->instance().backend().name(), ", context ",
                                 engine_->instance().n_ctx()));
  }
  // A file that can't be a model is refused while the old one is still there.
  const Result<gguf::File> file = gguf::File::open(path);
  if (!file.ok()) return screen_.problem(file.error());
  const std::optional<std::string> before = generation_.model.model.path;
  engine_.reset();  // memory may hold only one of them
  generation_.model.model.path = path;
  const Status loaded = load_model();
  if (loaded.ok()) return screen_.notice(concat("now answering: ", printable(path, 200)));
  screen_.problem(loaded.error());
  generation_.model.model.path = before;
  const Status again = load_model();
  if (again.ok()) return;
  screen_.problem(again.error());
  status_ = exit_status_of(again.error().code);
}

void ChatSession::attach(const std::string& path) {
  const Result<std::string> text = read_file(path, kMaxAttachedBytes);
  if (!text.ok()) return screen_.problem(text.error());
  if (!utf8::is_valid(text.value())) {
    return screen_.problem({ErrorCode::bad_file,
                            concat("expected a text file (UTF-8), found ", printable(path, 200))});
  }
  if (!attached_.empty()) attached_ += "\n\n";
  attached_ += concat(path, ":\n", text.value());
  screen_.notice(concat(human_bytes(text.value().size()), " go before the next question"));
}

}  // namespace lm::cli
