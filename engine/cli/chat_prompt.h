// engine/cli/chat_prompt.h — which chat template applies, and a prompt's ids under it.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/core/token.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "gguf/file.h"

namespace lm::cli {

// `named` (--chat-template): one of the model's templates, or else a file. Without it, the model's
// own; nullopt when it has none. file: nullptr when there is no model.
Result<std::optional<ChatTemplate>> find_chat_template(const gguf::File* file,
                                                       const std::optional<std::string>& named);

// The model's own names for what begins and ends a text; "" where it has none.
std::string bos_text(const Tokenizer& tokenizer);
std::string eos_text(const Tokenizer& tokenizer);

// The ids that follow from a conversation. Control tokens spelled in it count only with `special`;
// the text begins with BOS once, whoever writes it.
struct Conversation {
  Json messages;
  Json tools = nullptr;
  Json variables = Json::object();  // of the template
  bool special = false;
};
struct EncodedChat {
  std::vector<TokenId> ids;
  std::string text;  // what the template made
};
Result<EncodedChat> encode_chat(const ChatTemplate& chat, const Tokenizer& tokenizer,
                                const Conversation& conversation);

// bad_file, naming `what` and the file, when it holds no JSON.
Result<Json> read_json_file(const std::string& path, std::string_view what);

}  // namespace lm::cli
