#include "engine/chat/transcript.h"

#include <limits>

#include "engine/core/json.h"
#include "engine/core/text.h"

namespace lm::chat {
namespace {

constexpr std::string_view kFormat = "llm chat";
constexpr int kVersion = 1;
constexpr int kMaxDepth = 8;  // of JSON: records are flat

std::string line(const Json& record) {
  return dump_json(record) + "\n";
}

// "" when it is not there; nullopt when it is no string.
std::optional<std::string> text_of(const Json& record, std::string_view key) {
  const auto found = record.find(key);
  if (found == record.end()) return std::string();
  if (!found->is_string()) return std::nullopt;
  return found->get<std::string>();
}

std::optional<int> id_of(const Json& record, std::string_view key) {
  const auto found = record.find(key);
  if (found == record.end() || !found->is_number_integer()) return std::nullopt;
  if (found->is_number_unsigned() && found->get<uint64_t>() > uint64_t(INT64_MAX))
    return std::nullopt;
  const auto id = found->get<int64_t>();
  if (id < 0 || id > std::numeric_limits<int>::max()) return std::nullopt;
  return int(id);
}

std::optional<Role> role_from_name(std::string_view name) {
  for (const Role role : {Role::user, Role::assistant, Role::tool}) {
    if (name == role_name(role)) return role;
  }
  return std::nullopt;
}

std::string_view heading(Role role) {
  switch (role) {
    case Role::user:
      return "## Question";
    case Role::assistant:
      return "## Answer";
    case Role::tool:
      break;
  }
  return "## Result of a tool";
}

bool take_message(const Json& record, Conversation& conversation) {
  const std::optional<int> id = id_of(record, "message"), parent = id_of(record, "after");
  std::optional<std::string> role = text_of(record, "role"), content = text_of(record, "content"),
                             reasoning = text_of(record, "reasoning"),
                             finish = text_of(record, "finish"), calls = text_of(record, "calls");
  if (!id || !parent || !role || !content || !reasoning || !finish || !calls) return false;
  const std::optional<Role> known = role_from_name(*role);
  if (!known) return false;
  return conversation.restore({.id = *id,
                               .parent = *parent,
                               .role = *known,
                               .content = std::move(*content),
                               .reasoning = std::move(*reasoning),
                               .finish = std::move(*finish),
                               .calls = std::move(*calls)});
}

// False when the line says nothing that can be understood here.
bool take_record(std::string_view text, Conversation& conversation) {
  const Result<Json> record = parse_json(text, kMaxDepth);
  if (!record.ok() || !record.value().is_object()) return false;
  const Json& fields = record.value();
  if (fields.contains("message")) return take_message(fields, conversation);
  if (const auto system = fields.find("system"); system != fields.end()) {
    if (!system->is_null() && !system->is_string()) return false;
    conversation.set_system(system->is_null() ? std::nullopt
                                              : std::optional(system->get<std::string>()));
    return true;
  }
  const std::optional<int> position = id_of(fields, "goto");
  return position && conversation.go_to(*position);
}

Result<std::string> read_header(std::string_view text) {
  const Error error{ErrorCode::bad_file, "expected a conversation of this program, found " +
                                             (text.empty() ? std::string("an empty file")
                                                           : "\"" + printable(text, 60) + "\"")};
  const Result<Json> header = parse_json(text, kMaxDepth);
  if (!header.ok() || !header.value().is_object()) return error;
  const std::optional<std::string> format = text_of(header.value(), "format");
  const std::optional<std::string> created = text_of(header.value(), "created");
  const std::optional<int> version = id_of(header.value(), "version");
  if (format != kFormat || !created || !version) return error;
  if (*version > kVersion) {
    return Error{ErrorCode::unsupported, concat("expected a conversation of version ", kVersion,
                                                ", found version ", *version)};
  }
  return *created;
}

}  // namespace

std::string header_line(std::string_view created) {
  return line({{"format", kFormat}, {"version", kVersion}, {"created", created}});
}

std::string message_line(const Message& message) {
  Json record{{"message", message.id},
              {"after", message.parent},
              {"role", role_name(message.role)},
              {"content", message.content}};
  if (!message.reasoning.empty()) record["reasoning"] = message.reasoning;
  if (!message.finish.empty()) record["finish"] = message.finish;
  if (!message.calls.empty()) record["calls"] = message.calls;
  return line(record);
}

std::string system_line(const std::optional<std::string>& text) {
  return line({{"system", text ? Json(*text) : Json(nullptr)}});
}

std::string position_line(int id) {
  return line({{"goto", id}});
}

std::string body_lines(const Conversation& conversation) {
  std::string text;
  if (conversation.system()) text += system_line(conversation.system());
  for (const Message& message : conversation.messages()) text += message_line(message);
  return text + position_line(conversation.current());
}

Result<Transcript> read_transcript(std::string_view text) {
  Transcript transcript;
  size_t end = text.find('\n');
  transcript.created = LM_TRY(read_header(text.substr(0, end)));
  for (int number = 2; end != std::string_view::npos; ++number) {
    const size_t begin = end + 1;
    transcript.whole_bytes = begin;
    end = text.find('\n', begin);
    if (end == std::string_view::npos || end == begin) continue;
    if (take_record(text.substr(begin, end - begin), transcript.conversation)) continue;
    if (transcript.damaged_lines++ == 0) transcript.first_damaged = number;
  }
  return transcript;
}

std::string as_markdown(const Conversation& conversation) {
  std::string text;
  if (conversation.system()) text += concat("## System\n\n", *conversation.system(), "\n\n");
  for (const Message* message : conversation.path()) {
    text += concat(heading(message->role), "\n\n", message->content, "\n\n");
    if (!message->calls.empty()) text += concat("```json\n", message->calls, "\n```\n\n");
  }
  return text;
}

}  // namespace lm::chat
