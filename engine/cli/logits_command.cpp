// llm logits — the scores after every position, as JSON for programs that compare models.
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "engine/cli/command.h"
#include "engine/cli/ids.h"
#include "engine/cli/model_options.h"
#include "engine/tools/logits.h"

namespace lm::cli {
namespace {

constexpr int kStepTokens = 64;  // of 128k logits each: 32 MiB

// The shortest text that reads back as the same number. JSON has no infinities: null.
void append_number(std::string& text, float value) {
  if (!std::isfinite(value)) {
    text += "null";
    return;
  }
  std::array<char, 32> digits;
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  text.append(digits.data(), end);
}

class LogitsCommand final : public Command {
 public:
  LogitsCommand() { model_.kv_dtype = DType::f32; }

  std::string_view name() const override { return "logits"; }
  std::string_view summary() const override { return "the logits after every position, as JSON"; }

  void declare(Options& options) override {
    options.text("--ids", "\"1 2 3\"", ids_, "the tokens to run");
    model_.declare(options, ModelOptions::Cache::per_call);
  }

  Result<ExitStatus> run(const Context& context) override {
    if (!ids_) return Error{ErrorCode::bad_request, "expected --ids \"1 2 3\", found none"};
    const std::vector<TokenId> ids = LM_TRY(parse_ids(*ids_, std::numeric_limits<TokenId>::max()));
    InstanceOptions options = LM_TRY(model_.instance_options());
    options.need_tokenizer = false;
    options.max_step_tokens = options.max_step_logits = kStepTokens;
    if (options.n_ctx == 0) options.n_ctx = std::max(1, int(ids.size()));
    const std::unique_ptr<Instance> instance =
        LM_TRY(open_instance(context, std::move(options), true));

    std::string text = "{\"logits\": [";
    const char* before_row = "[";
    const Status done = all_logits(*instance, ids, [&](std::span<const float> logits) -> Status {
      text += before_row;
      before_row = ",\n[";
      for (size_t i = 0; i < logits.size(); ++i) {
        if (i > 0) text += ", ";
        append_number(text, logits[i]);
      }
      text += "]";
      if (!context.out.write(text)) return Error{ErrorCode::cancelled, "nobody reads the output"};
      text.clear();
      return ok();
    });
    if (!context.out.ok()) return ExitStatus::ok;  // the output's own status tells
    LM_TRY(Status(done));
    context.out.write("]}\n");
    return ExitStatus::ok;
  }

 private:
  ModelOptions model_;
  std::optional<std::string> ids_;
};

}  // namespace

std::unique_ptr<Command> make_logits_command() {
  return std::make_unique<LogitsCommand>();
}

}  // namespace lm::cli
