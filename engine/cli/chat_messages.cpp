#include "engine/cli/chat_messages.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

namespace lm::cli {
namespace {

// What is kept of a message's calls. A file may hold anything: what is no call is left out.
std::vector<Json> calls_of(const chat::Message& message) {
  std::vector<Json> calls;
  if (message.calls.empty()) return calls;
  const Result<Json> kept = parse_json(message.calls);
  if (!kept.ok() || !kept.value().is_array()) return calls;
  for (const Json& call : kept.value()) {
    const bool known = call.is_object() && call.contains("name") && call["name"].is_string() &&
                       call.contains("arguments");
    if (known) calls.push_back(call);
  }
  return calls;
}

// Nine letters and digits, which is what the strictest templates (Mistral) want.
std::string call_id(const Json& call, int message, size_t index) {
  if (call.contains("id") && call["id"].is_string()) return call["id"].get<std::string>();
  std::array<char, 16> text;
  std::snprintf(text.data(), text.size(), "call%05u",
                (unsigned(message) * 100 + unsigned(index)) % 100000);
  return text.data();
}

Json tool_calls(const std::vector<Json>& calls, int message) {
  Json list = Json::array();
  for (size_t i = 0; i < calls.size(); ++i) {
    list.push_back(
        Json{{"id", call_id(calls[i], message, i)},
             {"type", "function"},
             {"function", {{"name", calls[i]["name"]}, {"arguments", calls[i]["arguments"]}}}});
  }
  return list;
}

// Follows a path, and knows which call the next result belongs to.
class Calls {
 public:
  void pass(const chat::Message& message) {
    if (message.role == chat::Role::tool) {
      next_ = std::min(next_ + 1, calls_.size());
      return;
    }
    calls_ = calls_of(message);
    message_ = message.id;
    next_ = 0;
  }
  const std::vector<Json>& all() const { return calls_; }
  std::vector<Json> open() const { return {calls_.begin() + ptrdiff_t(next_), calls_.end()}; }
  // Of the call that the next result belongs to.
  void describe(Json& result) const {
    if (next_ == calls_.size()) return;
    result["name"] = calls_[next_]["name"];
    result["tool_call_id"] = call_id(calls_[next_], message_, next_);
  }

 private:
  std::vector<Json> calls_;
  int message_ = 0;
  size_t next_ = 0;
};

}  // namespace

Json chat_messages(const chat::Conversation& conversation) {
  Json list = Json::array();
  if (conversation.system()) {
    list.push_back(Json{{"role", "system"}, {"content", *conversation.system()}});
  }
  Calls calls;
  for (const chat::Message* message : conversation.path()) {
    Json& entry = list.emplace_back(
        Json{{"role", chat::role_name(message->role)}, {"content", message->content}});
    if (!message->reasoning.empty()) entry["reasoning_content"] = message->reasoning;
    if (message->role == chat::Role::tool) calls.describe(entry);
    calls.pass(*message);
    const bool has_calls = message->role == chat::Role::assistant && !calls.all().empty();
    if (has_calls) entry["tool_calls"] = tool_calls(calls.all(), message->id);
  }
  return list;
}

std::vector<Json> open_calls(const chat::Conversation& conversation) {
  Calls calls;
  for (const chat::Message* message : conversation.path()) calls.pass(*message);
  return calls.open();
}

}  // namespace lm::cli
