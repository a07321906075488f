#include "engine/cli/asker.h"

#include "engine/cli/chat_prompt.h"
#include "engine/cli/terminal.h"
#include "engine/runtime/sampling_text.h"

namespace lm::cli {
namespace {

// The texts of a conversation, for a model that only continues one.
std::string plain_text(const Json& messages) {
  std::string text;
  for (const Json& message : messages) {
    if (message["role"] == "system") continue;
    if (!text.empty()) text += '\n';
    text += message["content"].get_ref<const std::string&>();
  }
  return text;
}

}  // namespace

Asker::Asker(const Instance& instance, const GenerationOptions& options)
    : instance_(&instance), options_(&options) {}

Result<Asker> Asker::open(const Instance& instance, const GenerationOptions& options) {
  if (instance.tokenizer() == nullptr) {
    return Error{ErrorCode::unsupported,
                 "expected a model with a vocabulary, found a file without one"};
  }
  Asker asker(instance, options);
  asker.sampling_ = LM_TRY(
      options.sampling.resolve(LM_TRY(sampling_defaults(instance.file())), *instance.tokenizer()));
  asker.grammar_ = LM_TRY(options.grammar.bind(*instance.tokenizer()));
  if (!options.raw) {
    asker.template_ = LM_TRY(find_chat_template(&instance.file(), options.chat_template));
  }
  if (!asker.template_ && options.system && !options.quiet) {
    warn("-s is left out: the text is continued as it is, without a chat template");
  }
  return asker;
}

Result<std::vector<TokenId>> Asker::encode(const Json& messages) const {
  const Tokenizer& tokenizer = *instance_->tokenizer();
  std::vector<TokenId> ids;
  if (template_) {
    ids = LM_TRY(encode_chat(*template_, tokenizer, {messages, options_->special}));
  } else {
    const auto special =
        options_->special ? Tokenizer::Special::parse : Tokenizer::Special::as_text;
    tokenizer.encode(plain_text(messages), special, ids);
  }
  const TokenId bos = tokenizer.bos();
  const bool wanted = tokenizer.add_bos() || ids.empty();  // something must be there to continue
  if (wanted && bos >= 0 && (ids.empty() || ids.front() != bos)) ids.insert(ids.begin(), bos);
  if (!ids.empty()) return ids;
  return Error{ErrorCode::bad_request,
               "expected a prompt that is not empty: this model has no token that begins a text"};
}

Result<Request> Asker::ask(const Json& messages) const {
  Request request;
  request.sampling = sampling_;
  request.prompt = LM_TRY(encode(messages));
  if (grammar_) {
    request.filter = make_grammar_filter(grammar_, *instance_->tokenizer(), request.prompt);
  }
  request.max_tokens = options_->max_tokens;
  request.overflow = options_->overflow;
  request.stop = options_->stop;
  request.ignore_end = options_->ignore_end;
  return request;
}

}  // namespace lm::cli
