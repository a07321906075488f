// llm imatrix — how large the inputs of every matrix are over a text: what quantize weighs by.
#include <array>
#include <cstdio>

#include "engine/cli/command.h"
#include "engine/cli/eval_options.h"
#include "engine/cli/terminal.h"
#include "engine/core/text.h"
#include "engine/tools/imatrix_collect.h"
#include "engine/tools/rewrite.h"

namespace lm::cli {
namespace {

class ImatrixCommand final : public Command {
 public:
  std::string_view name() const override { return "imatrix"; }
  std::string_view summary() const override {
    return "an importance matrix from a text, for quantize";
  }

  void declare(Options& options) override {
    eval_.declare(options);
    options.text("-o,--output", "FILE", out_,
                 "the file to write: GGUF, or the older form where the name ends with .dat");
    options.flag("-q,--quiet", eval_.quiet, "no notes or progress on stderr");
  }

  Result<ExitStatus> run(const Context& context) override {
    const std::string text = LM_TRY(eval_.read_text());
    if (!out_ || out_->empty()) {
      return Error{ErrorCode::bad_request, "expected -o FILE, found the end of the command line"};
    }
    ImatrixCollector collector;
    InstanceOptions options = LM_TRY(eval_.instance_options());
    LM_TRY(check_output_path(
        *out_, std::array<std::filesystem::path, 2>{options.model_path, eval_.text_name()}));
    options.observer = &collector;
    const std::unique_ptr<Instance> model =
        LM_TRY(open_instance(context, std::move(options), !eval_.quiet));
    Result<EvalReport> done = eval_.run(context, *model, nullptr, text, "collecting");
    if (!done.ok() && pending_signal() != 0) return exit_status_of_signal(pending_signal());
    const EvalReport report = LM_TRY(std::move(done));
    Imatrix imatrix = LM_TRY(collector.result());
    imatrix.n_chunks = uint32_t(report.n_windows);
    imatrix.chunk_tokens = uint32_t(report.n_ctx);
    imatrix.datasets = {printable(eval_.text_name(), 1000)};
    LM_TRY(write_imatrix(imatrix, *out_));
    if (!eval_.quiet) summarise(collector, imatrix, report);
    return ExitStatus::ok;
  }

 private:
  void summarise(const ImatrixCollector& collector, const Imatrix& imatrix,
                 const EvalReport& report) const {
    if (collector.n_unused_experts() > 0) {
      warn(concat(collector.n_unused_experts(),
                  " matrices of experts saw no token: a longer text would help"));
    }
    char perplexity[40];
    std::snprintf(perplexity, sizeof perplexity, "%.3f", report.perplexity.value);
    write_stderr(concat("llm: ", printable(*out_, 1000), ": ", imatrix.entries.size(),
                        " matrices, ", report.n_windows, " windows of ", report.n_ctx,
                        " tokens, perplexity ", perplexity, "\n"));
  }

  EvalCommandOptions eval_;
  std::optional<std::string> out_;
};

}  // namespace

std::unique_ptr<Command> make_imatrix_command() {
  return std::make_unique<ImatrixCommand>();
}

}  // namespace lm::cli
