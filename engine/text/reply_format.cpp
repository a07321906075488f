#include "engine/text/reply_format.h"

#include <utility>

namespace lm {
namespace {

constexpr ReasoningTags kReasoning[] = {
    {"<think>", "</think>"},                     // Qwen, DeepSeek, GLM, SmolLM, ...
    {"<thinking>", "</thinking>"},               //
    {"<thought>", "</thought>"},                 // EXAONE
    {"[THINK]", "[/THINK]"},                     // Magistral
    {"<seed:think>", "</seed:think>"},           // Seed-OSS
    {"<|START_THINKING|>", "<|END_THINKING|>"},  // Command A
    {"◁think▷", "◁/think▷"},                     // Kimi
};

// What a template that knows this syntax mentions; the first that fits counts.
constexpr std::pair<std::string_view, ToolSyntax> kToolMarks[] = {
    {marks::kToolCalls, ToolSyntax::mistral},
    {marks::kCallsBegin, ToolSyntax::deepseek},
    {marks::kToolCall, ToolSyntax::tags},
    {marks::kPythonTag, ToolSyntax::llama3},
    {"\"parameters\": dictionary of argument name", ToolSyntax::llama3},  // Llama 3.2
};

constexpr std::string_view kControlMarks[] = {
    marks::kStart,     marks::kChannel,   marks::kConstrain,   marks::kMessage,
    marks::kEnd,       marks::kToolCall,  marks::kToolCallEnd, marks::kPythonTag,
    marks::kToolCalls, marks::kCallId,    marks::kArgs,        marks::kCallsBegin,
    marks::kCallsEnd,  marks::kCallBegin, marks::kCallEnd,     marks::kSep,
};
constexpr size_t kChannelMarks = 5;  // the first ones

bool mentions(std::string_view text, std::string_view mark) {
  return text.find(mark) != std::string_view::npos;
}

}  // namespace

std::span<const ReasoningTags> reasoning_tags() {
  return kReasoning;
}

ReplyFormat reply_format(std::string_view source, std::string_view prompt, bool has_tools) {
  ReplyFormat format;
  format.channels = mentions(source, marks::kChannel) && mentions(source, marks::kMessage);
  if (format.channels) {
    const size_t start = prompt.rfind(marks::kStart);
    if (start != std::string_view::npos)
      format.header = prompt.substr(start + marks::kStart.size());
    return format;
  }
  const size_t end = prompt.find_last_not_of(" \t\r\n");
  const std::string_view trimmed = prompt.substr(0, end == std::string_view::npos ? 0 : end + 1);
  for (const ReasoningTags& tags : kReasoning) {
    if (trimmed.ends_with(tags.begin)) format.reasoning_end = tags.end;
  }
  if (!has_tools) return format;
  for (const auto& [mark, syntax] : kToolMarks) {
    if (!mentions(source, mark)) continue;
    format.tools = syntax;
    break;
  }
  return format;
}

std::vector<TokenId> control_marks(const ReplyFormat& format, const Tokenizer& tokenizer) {
  std::vector<TokenId> ids;
  const auto add = [&](std::string_view mark) {
    const TokenId id = tokenizer.find(mark);
    if (id >= 0 && tokenizer.type(id) == TokenType::control) ids.push_back(id);
  };
  const std::span<const std::string_view> all = kControlMarks;
  if (format.channels) {
    for (const std::string_view mark : all.first(kChannelMarks)) add(mark);
    return ids;
  }
  for (const ReasoningTags& tags : kReasoning) {
    add(tags.begin);
    add(tags.end);
  }
  if (format.tools != ToolSyntax::none) {
    for (const std::string_view mark : all.subspan(kChannelMarks)) add(mark);
  }
  return ids;
}

}  // namespace lm
