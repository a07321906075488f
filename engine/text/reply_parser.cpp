#include "engine/text/reply_parser.h"

#include <algorithm>
#include <utility>

namespace lm {
namespace {

constexpr std::string_view kSpaces = " \t\r\n";
constexpr size_t kMaxHeader = 512;  // bytes: a longer one is no header
constexpr size_t kNone = std::string_view::npos;

bool is_space(char c) {
  return kSpaces.find(c) != std::string_view::npos;
}

// The word after `key` in a header, which ends at a space or at the next mark.
std::string_view word_after(std::string_view header, std::string_view key) {
  const size_t at = header.find(key);
  if (at == std::string_view::npos) return {};
  header.remove_prefix(at + key.size());
  header.remove_prefix(std::min(header.find_first_not_of(' '), header.size()));
  return header.substr(0, header.find_first_of(" \n<"));
}

}  // namespace

void Reply::take(const ReplyEvent& event) {
  switch (event.kind) {
    case ReplyEvent::Kind::reasoning:
      reasoning += event.text;
      break;
    case ReplyEvent::Kind::content:
      content += event.text;
      break;
    case ReplyEvent::Kind::call_begin:
      calls.push_back({"", std::string(event.text), "", false});
      break;
    case ReplyEvent::Kind::call_arguments:
      calls.back().arguments += event.text;
      break;
    case ReplyEvent::Kind::call_end:
      calls.back().id = event.text;
      calls.back().complete = true;
      break;
    case ReplyEvent::Kind::call_broken:
      break;
  }
}

ReplyParser::ReplyParser(ReplyFormat format, Sink sink)
    : format_(std::move(format)), sink_(std::move(sink)) {
  if (format_.channels) {
    enter(Mode::header);
    for (const char c : format_.header) feed(c);
    given_header_ = mode_ == Mode::header ? header_.size() : 0;
  } else if (!format_.reasoning_end.empty()) {
    reasoning_end_ = format_.reasoning_end;
    enter(Mode::reasoning);
  } else {
    enter(Mode::opening);
  }
}

void ReplyParser::enter(Mode mode) {
  mode_ = mode;
  collect_marks();
}

void ReplyParser::collect_marks() {
  marks_.clear();
  if (format_.channels) {
    if (mode_ == Mode::header) {
      marks_ = {{marks::kMessage, &ReplyParser::end_header},
                {marks::kChannel, &ReplyParser::extend_header},
                {marks::kConstrain, &ReplyParser::extend_header},
                {marks::kStart, &ReplyParser::extend_header},
                {marks::kEnd, &ReplyParser::extend_header}};
    } else {
      for (const std::string_view mark :
           {marks::kEnd, marks::kCall, marks::kReturn, marks::kStart, marks::kChannel}) {
        marks_.push_back({mark, &ReplyParser::end_message});
      }
    }
    return;
  }
  if (mode_ == Mode::reasoning) marks_ = {{reasoning_end_, &ReplyParser::end_reasoning}};
  if (mode_ == Mode::opening) {
    for (const ReasoningTags& tags : reasoning_tags()) {
      marks_.push_back({tags.begin, &ReplyParser::begin_reasoning});
    }
  }
  const bool may_call = mode_ == Mode::opening || mode_ == Mode::content || mode_ == Mode::between;
  switch (format_.tools) {
    case ToolSyntax::none:
      break;
    case ToolSyntax::tags:
      if (may_call) marks_.push_back({marks::kToolCall, &ReplyParser::begin_call});
      if (mode_ == Mode::call) marks_.push_back({marks::kToolCallEnd, &ReplyParser::end_call});
      break;
    case ToolSyntax::llama3:
      if (may_call) marks_.push_back({marks::kPythonTag, &ReplyParser::begin_call});
      break;
    case ToolSyntax::mistral:
      if (may_call) marks_.push_back({marks::kToolCalls, &ReplyParser::begin_list});
      break;
    case ToolSyntax::deepseek:
      if (may_call) {
        marks_.push_back({marks::kCallsBegin, &ReplyParser::begin_list});
        marks_.push_back({marks::kCallBegin, &ReplyParser::begin_call});
      }
      if (mode_ == Mode::call) marks_.push_back({marks::kCallEnd, &ReplyParser::end_call});
      if (mode_ != Mode::reasoning) marks_.push_back({marks::kCallsEnd, &ReplyParser::end_list});
      break;
  }
}

void ReplyParser::push(std::string_view text) {
  for (const char c : text) feed(c);
  flush();
}

// No mark is the beginning of another, so the first one that is whole is the one.
void ReplyParser::feed(char c) {
  held_ += c;
  while (!held_.empty()) {
    const bool hidden = mode_ == Mode::call && body_ && body_->in_string();
    const Mark* found = nullptr;
    bool begun = false;
    for (const Mark& mark : marks_) {
      if (hidden && !format_.channels) break;
      if (held_.starts_with(mark.text)) found = &mark;
      begun = begun || mark.text.starts_with(held_);
    }
    if (found != nullptr) {
      const Mark mark = *found;  // what it does changes the marks
      const std::string text = held_.substr(0, mark.text.size());
      held_.erase(0, mark.text.size());
      (this->*mark.action)(text);
    } else if (begun) {
      return;
    } else {
      const char first = held_.front();
      held_.erase(0, 1);
      take(first);
    }
  }
}

void ReplyParser::take(char c) {
  switch (mode_) {
    case Mode::opening:
      if (is_space(c)) {
        space_ += c;
        return;
      }
      if (format_.tools == ToolSyntax::llama3 && c == '{') {
        begin_call({});
        return take_call(c);
      }
      enter(Mode::content);
      return write(c);
    case Mode::content:
    case Mode::reasoning:
      return write(c);
    case Mode::header:
      header_ += c;
      if (header_.size() <= kMaxHeader) return;
      enter(Mode::content);  // no header is so long: this is the answer
      for (const char h : std::exchange(header_, {}).substr(given_header_)) write(h);
      return;
    case Mode::call:
      return take_call(c);
    case Mode::between:
      return take_between(c);
  }
}

void ReplyParser::begin_reasoning(std::string_view mark) {
  for (const ReasoningTags& tags : reasoning_tags()) {
    if (mark == tags.begin) reasoning_end_ = tags.end;
  }
  end_part();
  enter(Mode::reasoning);
}

void ReplyParser::end_reasoning(std::string_view) {
  end_part();
  enter(Mode::opening);
}

void ReplyParser::extend_header(std::string_view mark) {
  if (mark == marks::kStart || mark == marks::kEnd) {
    header_.clear();
    given_header_ = 0;
  } else {
    header_ += mark;
  }
}

// "assistant<|channel|>analysis", "assistant<|channel|>commentary to=functions.f <|constrain|>json"
void ReplyParser::end_header(std::string_view) {
  const std::string header = std::exchange(header_, {});
  std::string_view tool = word_after(header, "to=");
  constexpr std::string_view kFunctions = "functions.";
  if (tool.starts_with(kFunctions)) tool.remove_prefix(kFunctions.size());
  end_part();
  given_header_ = 0;
  if (!tool.empty()) {
    body_ = CallBody::of_tool(std::string(tool));
    named_ = ended_ = false;
    enter(Mode::call);
    report_call();
  } else {
    const bool reasons = word_after(header, marks::kChannel) == "analysis";
    enter(reasons ? Mode::reasoning : Mode::content);
  }
}

void ReplyParser::end_message(std::string_view mark) {
  if (mode_ == Mode::call && body_) {
    body_->end();
    report_call();
    if (!ended_) emit(ReplyEvent::Kind::call_broken, {});
  }
  end_part();
  header_ = mark == marks::kChannel ? std::string(mark) : std::string();
  enter(Mode::header);
}

void ReplyParser::begin_call(std::string_view mark) {
  body_.emplace(format_.tools);
  raw_ += mark;
  named_ = ended_ = false;
  enter(Mode::call);
}

void ReplyParser::begin_list(std::string_view mark) {
  raw_ = mark;
  list_begun_ = true;
  enter(Mode::between);
}

void ReplyParser::end_call(std::string_view mark) {
  body_->end();
  report_call();
  if (ended_) {
    end_part();
    enter(format_.tools == ToolSyntax::deepseek ? Mode::between : Mode::opening);
  } else {
    give_back(mark);
  }
}

void ReplyParser::end_list(std::string_view) {
  if (mode_ == Mode::call) end_call({});
  raw_.clear();
  enter(Mode::opening);
}

void ReplyParser::take_between(char c) {
  constexpr std::string_view kSeparators = ",;[]";  // of Mistral's lists and Llama's calls
  const bool separates = format_.tools != ToolSyntax::deepseek && kSeparators.find(c) != kNone;
  if (is_space(c) || separates) {
    if (!raw_.empty()) raw_ += c;
    return;
  }
  const bool names_tool = list_begun_ && format_.tools == ToolSyntax::mistral;
  if (c == '{' || names_tool) {
    begin_call({});
    return take_call(c);
  }
  enter(Mode::content);
  for (const char given : std::exchange(raw_, {})) write(given);
  write(c);
}

void ReplyParser::take_call(char c) {
  constexpr std::string_view kIgnored = " \t\r\n}`";  // between a call and its end mark
  if (ended_ && kIgnored.find(c) == kNone && !format_.channels) {
    end_part();
    enter(Mode::content);
    return write(c);
  }
  body_->feed(c);
  if (!named_) raw_ += c;
  report_call();
  const bool has_end_mark =
      format_.tools == ToolSyntax::tags || format_.tools == ToolSyntax::deepseek;
  if (ended_ && !has_end_mark && !format_.channels) {
    end_part();
    list_begun_ = false;
    enter(Mode::between);
  } else if (body_->state() == CallBody::State::broken && !format_.channels) {
    give_back({});
  }
}

// What has become known of the call.
void ReplyParser::report_call() {
  std::string name;
  if (body_->take_name(name)) {
    emit(ReplyEvent::Kind::call_begin, name);
    named_ = true;
    raw_.clear();
  }
  if (!named_ || ended_) return;
  emit(ReplyEvent::Kind::call_arguments, body_->take_arguments());
  if (body_->state() != CallBody::State::done) return;
  emit(ReplyEvent::Kind::call_end, body_->id());
  ended_ = true;
}

void ReplyParser::give_back(std::string_view mark) {
  if (named_ && !ended_) emit(ReplyEvent::Kind::call_broken, {});
  body_.reset();
  enter(Mode::content);
  if (named_) return;
  for (const char c : std::exchange(raw_, {})) write(c);
  for (const char c : mark) write(c);
}

// What follows is another part of the reply.
void ReplyParser::end_part() {
  body_.reset();
  raw_.clear();
  space_.clear();
  keep_space_ = part_begun_ = false;
}

void ReplyParser::write(char c) {
  const bool reasons = mode_ == Mode::reasoning;
  const auto kind = reasons ? ReplyEvent::Kind::reasoning : ReplyEvent::Kind::content;
  bool& had_some = reasons ? had_reasoning_ : had_content_;
  const bool may_be_last = reasons || format_.channels || format_.tools != ToolSyntax::none;
  if (is_space(c) && (may_be_last || !part_begun_)) {
    space_ += c;
    return;
  }
  if (part_begun_ || (keep_space_ && !reasons)) {
    emit(kind, space_);
  } else if (had_some) {
    emit(kind, "\n\n");
  }
  space_.clear();
  part_begun_ = had_some = true;
  emit(kind, std::string_view(&c, 1));
}

// Text of one kind is put together; everything else is an event of its own.
void ReplyParser::emit(ReplyEvent::Kind kind, std::string_view text) {
  const bool joins = kind == ReplyEvent::Kind::reasoning || kind == ReplyEvent::Kind::content ||
                     kind == ReplyEvent::Kind::call_arguments;
  if (joins && text.empty()) return;
  if (!joins || kind != ready_kind_) flush();
  if (joins) {
    ready_kind_ = kind;
    ready_ += text;
  } else {
    sink_({kind, text});
  }
}

void ReplyParser::flush() {
  const std::string text = std::exchange(ready_, {});
  if (!text.empty()) sink_({ready_kind_, text});
}

void ReplyParser::finish() {
  for (const char c : std::exchange(held_, {})) take(c);
  if (mode_ == Mode::header) {
    // A reply without any mark of a channel is an answer.
    const bool unmarked = given_header_ > 0 && header_.find("<|") == kNone;
    const std::string text = unmarked ? header_.substr(given_header_) : std::string();
    enter(Mode::content);
    for (const char c : text) write(c);
  }
  if (mode_ == Mode::call && body_) {
    body_->end();
    report_call();
    if (!ended_) give_back({});
  } else if (mode_ == Mode::between) {
    for (const char c : std::exchange(raw_, {})) write(c);
  }
  const bool belongs = mode_ == Mode::content || mode_ == Mode::opening;
  if (belongs && (part_begun_ || keep_space_)) emit(ReplyEvent::Kind::content, space_);
  space_.clear();
  flush();
}

}  // namespace lm
