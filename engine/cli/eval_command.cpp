// llm eval — how well a model predicts a text, and how far it is from another one.
#include "engine/cli/command.h"
#include "engine/cli/eval_options.h"
#include "engine/cli/eval_text.h"

namespace lm::cli {
namespace {

class EvalCommand final : public Command {
 public:
  std::string_view name() const override { return "eval"; }
  std::string_view summary() const override {
    return "perplexity on a text, and the distance from another model";
  }

  void declare(Options& options) override {
    eval_.declare(options);
    options.text("--against", "BASE.gguf", base_,
                 "compare with this model (f32 KV cache): KL divergence, likeliest token, change "
                 "of perplexity");
    declare_kv_type(options, eval_.model.kv_dtype);
    options.flag("--json", json_, "the result as one JSON object");
    options.flag("-q,--quiet", eval_.quiet, "no progress on stderr");
  }

  Result<ExitStatus> run(const Context& context) override {
    const std::string text = LM_TRY(eval_.read_text());
    InstanceOptions options = LM_TRY(eval_.instance_options());
    const std::unique_ptr<Instance> model = LM_TRY(open_instance(context, options, !eval_.quiet));
    std::unique_ptr<Instance> base;
    if (base_) {
      options.model_path = *base_;
      options.kv_dtype = DType::f32;
      base = LM_TRY(open_instance(context, std::move(options), !eval_.quiet));
    }
    Result<EvalReport> done = eval_.run(context, *model, base.get(), text, "evaluating");
    if (!done.ok() && pending_signal() != 0) return exit_status_of_signal(pending_signal());
    const EvalReport report = LM_TRY(std::move(done));
    context.out.write(json_ ? dump_json(eval_json(report)) + "\n" : eval_text(report));
    return ExitStatus::ok;
  }

 private:
  EvalCommandOptions eval_;
  std::optional<std::string> base_;
  bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_eval_command() {
  return std::make_unique<EvalCommand>();
}

}  // namespace lm::cli
