#include "engine/cli/chat_prompt.h"

#include "engine/cli/exit_status.h"
#include "engine/core/file.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

constexpr size_t kMaxTemplateBytes = 1 << 20, kMaxJsonBytes = 256 << 20;
constexpr std::string_view kRawHint =
    "--raw continues the text without a chat template, and "
    "--chat-template FILE takes another one";

Result<std::optional<ChatTemplate>> compiled(std::string_view source) {
  Result<ChatTemplate> chat = ChatTemplate::compile(source);
  if (!chat.ok()) return with_hint(std::move(chat).error(), std::string(kRawHint));
  return std::optional(std::move(chat).value());
}

std::string token_text(const Tokenizer& tokenizer, TokenId id) {
  return id < 0 ? std::string() : std::string(tokenizer.text(id));
}

}  // namespace

Result<std::optional<ChatTemplate>> find_chat_template(const gguf::File* file,
                                                       const std::optional<std::string>& named) {
  const std::string key = "tokenizer.chat_template";
  if (named) {
    const std::string named_key = concat(key, ".", *named);
    if (file != nullptr && file->value(named_key) != nullptr)
      return compiled(LM_TRY(file->str(named_key)));
    Result<std::string> source = read_file(*named, kMaxTemplateBytes);
    if (!source.ok()) return std::move(source).error().within("chat template");
    return compiled(source.value());
  }
  if (file == nullptr || file->value(key) == nullptr) return std::optional<ChatTemplate>();
  return compiled(LM_TRY(file->str(key)));
}

std::string bos_text(const Tokenizer& tokenizer) {
  return token_text(tokenizer, tokenizer.bos());
}

std::string eos_text(const Tokenizer& tokenizer) {
  return token_text(tokenizer, tokenizer.eos());
}

Result<Json> read_json_file(const std::string& path, std::string_view what) {
  Result<std::string> text = read_file(path, kMaxJsonBytes);
  if (!text.ok()) return std::move(text).error().within(what);
  Result<Json> json = parse_json(text.value());
  if (!json.ok()) return std::move(json).error().within(concat(what, " ", printable(path)));
  return json;
}

Result<EncodedChat> encode_chat(const ChatTemplate& chat, const Tokenizer& tokenizer,
                                const Conversation& conversation) {
  ChatInput input;
  input.messages = conversation.messages;
  input.tools = conversation.tools;
  input.variables = conversation.variables;
  input.bos_token = bos_text(tokenizer);
  input.eos_token = eos_text(tokenizer);
  Result<RenderedPrompt> rendered = chat.render(input);
  if (!rendered.ok()) return with_hint(std::move(rendered).error(), std::string(kRawHint));
  RenderedPrompt prompt = std::move(rendered).value();
  if (conversation.special) prompt.input.clear();
  EncodedChat encoded;
  tokenizer.encode_prompt(prompt.text, prompt.input, encoded.ids);
  encoded.text = std::move(prompt.text);
  return encoded;
}

}  // namespace lm::cli
