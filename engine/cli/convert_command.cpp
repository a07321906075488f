// llm convert — a Hugging Face model folder into one GGUF file.
#include "engine/cli/command.h"
#include "engine/cli/terminal.h"
#include "engine/core/text.h"
#include "engine/tools/convert.h"

namespace lm::cli {
namespace {

class ConvertCommand final : public Command {
 public:
  std::string_view name() const override { return "convert"; }
  std::string_view summary() const override {
    return "a Hugging Face model folder into one GGUF file";
  }

  void declare(Options& options) override {
    options.word("DIR", in_,
                 "the folder: config.json, *.safetensors, tokenizer.json or tokenizer.model");
    options.text("-o,--output", "FILE", out_, "the GGUF file to write");
    options.value(
        "--type", "TYPE",
        [this](std::string_view word) -> Status {
          type_ = dtype_from_name(word);
          if (type_) return ok();
          return Error{ErrorCode::bad_request, concat("expected a number format like f16, found \"",
                                                      printable(word), "\"")};
        },
        "number format of the matrices (default: as stored)");
    options.flag("--no-vocab", no_vocab_, "leave the tokenizer out");
    options.flag("-q,--quiet", quiet_, "no notes or progress on stderr");
  }

  Result<ExitStatus> run(const Context& context) override {
    if (!in_)
      return Error{ErrorCode::bad_request, "expected DIR, found the end of the command line"};
    if (!out_ || out_->empty()) {
      return Error{ErrorCode::bad_request,
                   "expected -o FILE.gguf, found the end of the command line"};
    }
    context.signals.hold();  // the file half written must go
    Result<ConvertReport> converted = convert_with_progress();
    if (!converted.ok() && pending_signal() != 0) return exit_status_of_signal(pending_signal());
    const ConvertReport report = LM_TRY(std::move(converted));
    if (quiet_) return ExitStatus::ok;
    for (const std::string& note : report.notes) warn(note);
    write_stderr(concat("llm: ", printable(*out_, 1000), ": ", printable(report.architecture), ", ",
                        report.n_tensors, " tensors, ", report.n_parameters, " numbers, ",
                        human_bytes(report.tensor_bytes), "\n"));
    return ExitStatus::ok;
  }

 private:
  Result<ConvertReport> convert_with_progress() const {
    ProgressBar bar("converting", *out_, !quiet_);
    return convert({.in = *in_,
                    .out = *out_,
                    .type = type_,
                    .vocab = !no_vocab_,
                    .progress = [&bar](uint64_t done, uint64_t total) { bar.update(done, total); },
                    .stop = [] { return pending_signal() != 0; }});
  }

  std::optional<std::string> in_, out_;
  std::optional<DType> type_;
  bool no_vocab_ = false, quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> make_convert_command() {
  return std::make_unique<ConvertCommand>();
}

}  // namespace lm::cli
