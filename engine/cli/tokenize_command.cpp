// llm tokenize — text to ids and back.
#include <filesystem>

#include "engine/cli/command.h"
#include "engine/cli/ids.h"
#include "engine/cli/model_options.h"
#include "engine/cli/prompt.h"
#include "engine/cli/terminal.h"
#include "engine/core/json.h"
#include "engine/core/text.h"
#include "engine/text/tokenizer.h"
#include "gguf/file.h"

namespace lm::cli {
namespace {

constexpr size_t kMaxTextBytes = 1 << 30;

class TokenizeCommand final : public Command {
 public:
  std::string_view name() const override { return "tokenize"; }
  std::string_view summary() const override { return "text to token ids, and back"; }

  void declare(Options& options) override {
    options.word("TEXT", text_, "the text, or with --decode the ids; - reads stdin");
    model_.declare(options);
    options.flag("--special", special_, "control tokens spelled out in the text count as such");
    options.flag("--no-bos", no_bos_, "leave out the token that begins a text");
    options.flag("--decode", decode_, "ids to text");
    options.flag("--json", json_,
                 "{\"tokens\": [id...], \"pieces\": [text...]}, or {\"text\": ...}");
  }

  Result<ExitStatus> run(const Context& context) override {
    if (!text_) {
      return Error{ErrorCode::bad_request, "expected TEXT or -, found the end of the command line"};
    }
    const std::filesystem::path path = LM_TRY(model_.resolve());
    const std::string input = *text_ == "-" ? LM_TRY(read_stdin(kMaxTextBytes, true)) : *text_;
    const gguf::File file = LM_TRY(gguf::File::open(path));
    const std::unique_ptr<Tokenizer> tokenizer = LM_TRY(Tokenizer::from_gguf(file));
    if (decode_) return decode(*tokenizer, input, context.out);
    return encode(*tokenizer, input, context.out);
  }

 private:
  Result<ExitStatus> encode(const Tokenizer& tokenizer, std::string_view text, Output& out) const {
    std::vector<TokenId> ids;
    if (!no_bos_ && tokenizer.add_bos() && tokenizer.bos() >= 0) ids.push_back(tokenizer.bos());
    tokenizer.encode(text, special_ ? Tokenizer::Special::parse : Tokenizer::Special::as_text, ids);
    std::string line;
    if (json_) {
      Json object{{"tokens", ids}, {"pieces", Json::array()}};
      for (const TokenId id : ids) object["pieces"].push_back(tokenizer.text(id));
      line = dump_json(object);
    } else {
      for (const TokenId id : ids) line += concat(line.empty() ? "" : " ", id);
    }
    out.write(line + "\n");
    return ExitStatus::ok;
  }

  Result<ExitStatus> decode(const Tokenizer& tokenizer, std::string_view list, Output& out) const {
    const std::vector<TokenId> ids = LM_TRY(parse_ids(list, tokenizer.size()));
    const std::string text = tokenizer.decode(ids);
    if (json_) {
      out.write(dump_json({{"text", text}}) + "\n");
    } else {
      out.write(out.is_terminal() ? terminal_safe(text) + "\n" : text);
    }
    return ExitStatus::ok;
  }

  ModelPath model_;
  std::optional<std::string> text_;
  bool special_ = false, no_bos_ = false, decode_ = false, json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_tokenize_command() {
  return std::make_unique<TokenizeCommand>();
}

}  // namespace lm::cli
