// llm export — a GGUF file back into a Hugging Face folder.
#include <algorithm>
#include <cstdio>

#include "engine/cli/command.h"
#include "engine/cli/output.h"
#include "engine/cli/terminal.h"
#include "engine/core/json.h"
#include "engine/core/text.h"
#include "engine/tools/export.h"

namespace lm::cli {
namespace {

Json report_json(const ExportReport& report, const std::string& folder) {
  Json tensors = Json::array();
  for (const ExportedTensor& tensor : report.tensors) {
    tensors.push_back({{"name", tensor.name},
                       {"type", dtype_name(tensor.type)},
                       {"format", tensor.format},
                       {"exact", tensor.exact},
                       {"largest_error", tensor.largest_error},
                       {"relative_rms_error", tensor.relative_rms_error}});
  }
  return {{"folder", folder},
          {"family", report.family},
          {"notes", report.notes},
          {"tensors", std::move(tensors)}};
}

class ExportCommand final : public Command {
 public:
  std::string_view name() const override { return "export"; }
  std::string_view summary() const override {
    return "a GGUF file back into a Hugging Face folder, integers kept";
  }

  void declare(Options& options) override {
    options.word("FILE", in_, "a GGUF file");
    options.text("--to", "hf-gptq", format_, "safetensors with GPTQ modules, v2 (the default)");
    options.word("DIR", out_, "the folder to write: absent or empty");
    options.flag("--json", json_, "one object: every tensor with its format, exact or how far off");
    options.flag("-q,--quiet", quiet_, "no notes or progress on stderr");
  }

  Result<ExitStatus> run(const Context& context) override {
    if (!in_)
      return Error{ErrorCode::bad_request, "expected FILE, found the end of the command line"};
    if (!out_ || out_->empty())
      return Error{ErrorCode::bad_request, "expected DIR, found the end of the command line"};
    context.signals.hold();  // the folder half written must go
    Result<ExportReport> exported = export_with_progress();
    if (!exported.ok() && pending_signal() != 0) return exit_status_of_signal(pending_signal());
    const ExportReport report = LM_TRY(std::move(exported));
    if (json_) context.out.write(dump_json(report_json(report, *out_)) + "\n");
    if (!quiet_) summarise(report);
    return ExitStatus::ok;
  }

 private:
  void summarise(const ExportReport& report) const {
    for (const std::string& note : report.notes) warn(note);
    for (const ExportedTensor& tensor : report.tensors) {
      if (tensor.exact) continue;
      char error[80];
      std::snprintf(error, sizeof error, "error %.3g, rms %.2g%%", tensor.largest_error,
                    100 * tensor.relative_rms_error);
      warn(concat(tensor.name, ": ", dtype_name(tensor.type), " as ", tensor.format, ", ", error));
    }
    const auto n_ints = std::ranges::count_if(report.tensors, [](const ExportedTensor& tensor) {
      return tensor.format.starts_with("gptq");
    });
    write_stderr(concat("llm: ", printable(*out_, 1000), ": ", report.family, ", ",
                        report.tensors.size(), " tensors, ", n_ints, " of them as integers\n"));
  }

  Result<ExportReport> export_with_progress() const {
    ProgressBar bar("exporting", *out_, !quiet_);
    return export_hf_gptq(
        {.in = *in_,
         .out = *out_,
         .progress = [&bar](uint64_t done, uint64_t total) { bar.update(done, total); },
         .stop = [] { return pending_signal() != 0; }});
  }

  std::optional<std::string> in_, out_, format_;
  bool json_ = false, quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> make_export_command() {
  return std::make_unique<ExportCommand>();
}

}  // namespace lm::cli
