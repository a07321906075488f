#include "engine/cli/asker.h"

#include "engine/cli/chat_prompt.h"
#include "engine/cli/terminal.h"
#include "engine/runtime/sampling_text.h"

namespace lm::cli {
namespace {

constexpr size_t kMaxBound = 16;

// The texts of a conversation, for a model that only continues one.
std::string plain_text(const Json& messages) {
  std::string text;
  for (const Json& message : messages) {
    const bool has_text = message.contains("content") && message["content"].is_string();
    if (message["role"] == "system" || !has_text) continue;
    if (!text.empty() && message["role"] == "user") text += '\n';
    text += message["content"].get_ref<const std::string&>();
  }
  return text;
}

// What templates call the wish for reasoning: Qwen, GLM and others; DeepSeek and Granite; gpt-oss,
// which can't go without.
Json variables_of(Think think) {
  switch (think) {
    case Think::on:
      return {{"enable_thinking", true}, {"thinking", true}};
    case Think::off:
      return {{"enable_thinking", false}, {"thinking", false}, {"reasoning_effort", "low"}};
    case Think::automatic:
    case Think::hide:
      break;
  }
  return Json::object();
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
  if (options.grammar.compiled()) LM_TRY(asker.bind(options.grammar.compiled(), {}, {}));
  if (!options.raw) {
    asker.template_ = LM_TRY(find_chat_template(&instance.file(), options.chat_template));
  }
  if (options.tools) {
    if (!asker.template_) {
      return Error{ErrorCode::bad_request,
                   "expected a model with a chat template for --tools, found none in it"};
    }
    asker.tools_ = LM_TRY(read_json_file(*options.tools, "tools"));
  }
  if (!asker.template_ && options.system && !options.quiet) {
    warn("-s is left out: the text is continued as it is, without a chat template");
  }
  return asker;
}

Terms Asker::terms() const {
  return {.sampling = sampling_,
          .max_tokens = options_->max_tokens,
          .stop = options_->stop,
          .grammar = options_->grammar.compiled(),
          .tools = tools_,
          .ignore_end = options_->ignore_end};
}

Result<std::shared_ptr<const grammar::TokenGrammar>> Asker::bind(
    const std::shared_ptr<const AnswerGrammar>& wanted, const Preamble& preamble,
    const std::vector<TokenId>& spelled) {
  for (const Bound& bound : bound_) {
    if (bound.grammar == wanted && bound.preamble == preamble && bound.spelled == spelled) {
      return bound.tokens;
    }
  }
  if (!vocabulary_ || spelled_ != spelled) {
    vocabulary_ = grammar_vocabulary(*instance_->tokenizer(), spelled);
    spelled_ = spelled;
  }
  std::shared_ptr<const grammar::TokenGrammar> tokens = LM_TRY(wanted->bind(vocabulary_, preamble));
  if (bound_.size() >= kMaxBound) bound_.erase(bound_.begin());
  bound_.push_back({wanted, preamble, spelled, tokens});
  return tokens;
}

Status Asker::encode(const Json& messages, const Json& tools, Question& question) const {
  const Tokenizer& tokenizer = *instance_->tokenizer();
  std::vector<TokenId>& ids = question.request.prompt;
  if (template_) {
    EncodedChat chat =
        LM_TRY(encode_chat(*template_, tokenizer,
                           {messages, tools, variables_of(options_->think), options_->special}));
    ids = std::move(chat.ids);
    question.format = reply_format(template_->source(), chat.text, !tools.is_null());
    question.request.spelled = control_marks(*question.format, tokenizer);
  } else {
    const auto special =
        options_->special ? Tokenizer::Special::parse : Tokenizer::Special::as_text;
    tokenizer.encode(plain_text(messages), special, ids);
  }
  const TokenId bos = tokenizer.bos();
  const bool wanted = tokenizer.add_bos() || ids.empty();  // something must be there to continue
  if (wanted && bos >= 0 && (ids.empty() || ids.front() != bos)) ids.insert(ids.begin(), bos);
  if (!ids.empty()) return ok();
  return Error{ErrorCode::bad_request,
               "expected a prompt that is not empty: this model has no token that begins a text"};
}

// With --think on the form is that of the answer after the reasoning; else of all the text.
Status Asker::hold_to_form(const std::shared_ptr<const AnswerGrammar>& form, Question& question) {
  Request& request = question.request;
  Preamble preamble;
  if (question.format) {
    preamble = preamble_of(*question.format, template_->source(), options_->think == Think::on);
  }
  if (preamble.empty()) {
    question.format.reset();
    request.spelled.clear();
  } else {
    question.format->tools = ToolSyntax::none;  // JSON is the answer, and no call
  }
  request.filter = make_grammar_filter(LM_TRY(bind(form, preamble, request.spelled)),
                                       *instance_->tokenizer(), request.prompt);
  return ok();
}

Result<Question> Asker::ask(const Json& messages, const Terms& terms) {
  Question question;
  LM_TRY(encode(messages, terms.tools, question));
  Request& request = question.request;
  request.sampling = terms.sampling;
  if (terms.grammar) LM_TRY(hold_to_form(terms.grammar, question));
  request.max_tokens = terms.max_tokens;
  request.overflow = options_->overflow;
  request.stop = terms.stop;
  request.ignore_end = terms.ignore_end;
  return question;
}

}  // namespace lm::cli
