// llm convert — a Hugging Face model folder into one GGUF file, and what became of each tensor.
#include <algorithm>
#include <cstdio>

#include "engine/cli/command.h"
#include "engine/cli/output.h"
#include "engine/cli/terminal.h"
#include "engine/core/json.h"
#include "engine/core/text.h"
#include "engine/tools/convert.h"

namespace lm::cli {
namespace {

std::string hash_text(uint64_t hash) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

std::string padded(std::string text, size_t width) {
  text.resize(std::max(text.size() + 1, width), ' ');
  return text;
}

// "exact", or how far off: the largest difference, and the RMS of all relative to the source's.
std::string error_text(const ConvertedTensor& tensor) {
  if (tensor.exact) return "exact";
  char text[80];
  std::snprintf(text, sizeof text, "error %.3g, rms %.2g%%", tensor.largest_error,
                100 * tensor.relative_rms_error);
  return text;
}

Json report_json(const ConvertReport& report, const std::string& path) {
  Json tensors = Json::array();
  for (const ConvertedTensor& tensor : report.tensors) {
    tensors.push_back({{"name", tensor.name},
                       {"source", tensor.source},
                       {"type", dtype_name(tensor.type)},
                       {"exact", tensor.exact},
                       {"largest_error", tensor.largest_error},
                       {"relative_rms_error", tensor.relative_rms_error},
                       {"bytes", tensor.bytes},
                       {"xxh3", hash_text(tensor.hash)}});
  }
  return {{"file", path},
          {"family", report.family},
          {"architecture", report.architecture},
          {"parameters", report.n_parameters},
          {"tensor_bytes", report.tensor_bytes},
          {"verified", report.verified},
          {"notes", report.notes},
          {"tensors", std::move(tensors)}};
}

class ConvertCommand final : public Command {
 public:
  std::string_view name() const override { return "convert"; }
  std::string_view summary() const override {
    return "a Hugging Face model folder into one GGUF file";
  }

  void declare(Options& options) override {
    options.word("DIR", in_,
                 "the folder: config.json, *.safetensors, tokenizer.json or tokenizer.model; GPTQ, "
                 "AWQ, compressed-tensors and fp8 checkpoints too");
    options.text("-o,--output", "FILE", out_, "the GGUF file to write");
    declare_type(options, "--type", type_,
                 "number format of the matrices (default: as stored; integers in what holds them "
                 "bit for bit)");
    declare_type(options, "--head", head_,
                 "number format of the output matrix alone, like q8_0 or q6_K");
    options.flag("--exact", exact_, "f32 for integers that no smaller type holds bit for bit");
    options.flag("--compat", compat_,
                 "only types that other programs know: q5_0 instead of the smaller i4g128");
    options.flag("--no-vocab", no_vocab_, "leave the tokenizer out");
    options.flag("--verify", verify_, "read the file again and compare every number");
    options.flag("--report", report_,
                 "every tensor on stdout: source, type, exact or how far off, hash");
    options.flag("--json", json_, "the report as one JSON object");
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
    if (json_) {
      context.out.write(dump_json(report_json(report, *out_)) + "\n");
    } else if (report_) {
      write_table(report, context.out);
    }
    if (!quiet_) summarise(report);
    return ExitStatus::ok;
  }

 private:
  static void declare_type(Options& options, std::string_view name, std::optional<DType>& target,
                           std::string_view help) {
    options.value(
        name, "TYPE",
        [&target](std::string_view word) -> Status {
          target = dtype_from_name(word);
          if (target) return ok();
          return Error{ErrorCode::bad_request, concat("expected a number format like f16, found \"",
                                                      printable(word), "\"")};
        },
        help);
  }

  static void write_table(const ConvertReport& report, Output& out) {
    for (const ConvertedTensor& tensor : report.tensors) {
      out.write(concat(padded(tensor.name, 30), padded(tensor.source, 28),
                       padded(std::string(dtype_name(tensor.type)), 8),
                       padded(error_text(tensor), 30), hash_text(tensor.hash), "\n"));
    }
  }

  void summarise(const ConvertReport& report) const {
    for (const std::string& note : report.notes) warn(note);
    size_t n_inexact = 0;
    const ConvertedTensor* worst = nullptr;
    for (const ConvertedTensor& tensor : report.tensors) {
      if (tensor.exact) continue;
      ++n_inexact;
      if (worst == nullptr || tensor.relative_rms_error > worst->relative_rms_error)
        worst = &tensor;
    }
    std::string exactness = ", all exact";
    if (worst != nullptr) {
      exactness = concat(", ", n_inexact, " not exact, most of all ", worst->name, " (",
                         error_text(*worst), ")");
    }
    write_stderr(concat("llm: ", printable(*out_, 1000), ": ", printable(report.architecture), ", ",
                        report.n_tensors, " tensors, ", report.n_parameters, " numbers, ",
                        human_bytes(report.tensor_bytes), exactness,
                        report.verified ? ", verified" : "", "\n"));
  }

  Result<ConvertReport> convert_with_progress() const {
    ProgressBar bar("converting", *out_, !quiet_);
    return convert({.in = *in_,
                    .out = *out_,
                    .type = type_,
                    .head = head_,
                    .exact = exact_,
                    .compat = compat_,
                    .vocab = !no_vocab_,
                    .verify = verify_,
                    .progress = [&bar](uint64_t done, uint64_t total) { bar.update(done, total); },
                    .stop = [] { return pending_signal() != 0; }});
  }

  std::optional<std::string> in_, out_;
  std::optional<DType> type_, head_;
  bool exact_ = false, compat_ = false, no_vocab_ = false, verify_ = false;
  bool report_ = false, json_ = false, quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> make_convert_command() {
  return std::make_unique<ConvertCommand>();
}

}  // namespace lm::cli
