// engine/text/reply_format.h — how a model marks the parts of what it says: reasoning, the answer,
// calls of tools. Known by what its chat template says and by how the prompt ends.
// Sources: the chat templates of the models themselves, and OpenAI's "harmony response format".
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/token.h"
#include "engine/text/tokenizer.h"

namespace lm {

enum class ToolSyntax {
  none,      // no tools were offered: nothing is taken for a call
  tags,      // <tool_call>…</tool_call>, with JSON (Hermes, Qwen), <function=…> (Qwen coder) or
             // <arg_key>… (GLM) in it
  llama3,    // {"name": …, "parameters": …}, also after <|python_tag|>
  mistral,   // [TOOL_CALLS][{…}], or [TOOL_CALLS]name[ARGS]{…}
  deepseek,  // <｜tool▁calls▁begin｜>…
};

struct ReplyFormat {
  bool channels = false;  // gpt-oss: every message of a reply has a header, tools included
  ToolSyntax tools = ToolSyntax::none;
  std::string header{};         // channels: what the prompt has of the first header
  std::string reasoning_end{};  // not empty: the prompt has opened a block of reasoning, ended so
};

// `source`: of the chat template; `prompt`: what it made. Both may be empty.
ReplyFormat reply_format(std::string_view source, std::string_view prompt, bool has_tools);

struct ReasoningTags {
  std::string_view begin, end;
};
std::span<const ReasoningTags> reasoning_tags();

// The marks of a format that this vocabulary has as control tokens, which have no text unless they
// are spelled.
std::vector<TokenId> control_marks(const ReplyFormat& format, const Tokenizer& tokenizer);

namespace marks {
inline constexpr std::string_view kStart = "<|start|>", kChannel = "<|channel|>",
                                  kConstrain = "<|constrain|>", kMessage = "<|message|>",
                                  kEnd = "<|end|>", kCall = "<|call|>", kReturn = "<|return|>";
inline constexpr std::string_view kToolCall = "<tool_call>", kToolCallEnd = "</tool_call>",
                                  kFunction = "<function=", kFunctionEnd = "</function>",
                                  kParameter = "<parameter=", kParameterEnd = "</parameter>",
                                  kArgKey = "<arg_key>", kArgKeyEnd = "</arg_key>",
                                  kArgValue = "<arg_value>", kArgValueEnd = "</arg_value>";
inline constexpr std::string_view kPythonTag = "<|python_tag|>";
inline constexpr std::string_view kToolCalls = "[TOOL_CALLS]", kCallId = "[CALL_ID]",
                                  kArgs = "[ARGS]";
inline constexpr std::string_view kCallsBegin = "<｜tool▁calls▁begin｜>",
                                  kCallsEnd = "<｜tool▁calls▁end｜>",
                                  kCallBegin = "<｜tool▁call▁begin｜>",
                                  kCallEnd = "<｜tool▁call▁end｜>", kSep = "<｜tool▁sep｜>";
}  // namespace marks

}  // namespace lm
