// llm quantize — a GGUF file into a smaller one, and what each tensor became.
#include <algorithm>
#include <cstdio>

#include "engine/cli/command.h"
#include "engine/cli/eval_options.h"
#include "engine/cli/eval_text.h"
#include "engine/cli/method_options.h"
#include "engine/cli/output.h"
#include "engine/cli/terminal.h"
#include "engine/core/json.h"
#include "engine/core/text.h"
#include "engine/text/tokenizer.h"
#include "engine/tools/quantize.h"
#include "engine/tools/recipes.h"
#include "gguf/file.h"

namespace lm::cli {
namespace {

constexpr int kMaxThreads = 1024, kMaxWindows = 1 << 24;

std::string padded(std::string text, size_t width) {
  text.resize(std::max(text.size() + 1, width), ' ');
  return text;
}

std::string two_decimals(double number) {
  char text[40];
  std::snprintf(text, sizeof text, "%.2f", number);
  return text;
}

double bits(const QuantizedTensor& tensor) {
  return 8.0 * double(tensor.bytes) / double(tensor.n_elements);
}

Json report_json(const QuantizeReport& report, const std::string& path) {
  Json tensors = Json::array();
  for (const QuantizedTensor& tensor : report.tensors) {
    tensors.push_back({{"name", tensor.name},
                       {"from", dtype_name(tensor.from)},
                       {"type", dtype_name(tensor.to)},
                       {"reason", tensor.reason},
                       {"importance", tensor.weighted},
                       {"numbers", tensor.n_elements},
                       {"bytes", tensor.bytes}});
  }
  return {{"file", path},
          {"type", report.recipe},
          {"method", report.method},
          {"numbers", report.n_elements},
          {"input_bytes", report.from_bytes},
          {"bytes", report.bytes},
          {"bits_per_weight", report.bits_per_weight()},
          {"seconds", report.seconds},
          {"notes", report.notes},
          {"tensors", std::move(tensors)}};
}

class QuantizeCommand final : public Command {
 public:
  std::string_view name() const override { return "quantize"; }
  std::string_view summary() const override { return "a GGUF file into a smaller one"; }

  void declare(Options& options) override {
    options.word("IN.gguf", in_, "the model: f32, f16 or bf16");
    options.word("OUT.gguf", out_, "the file to write");
    std::string names;
    for (const std::string_view one : writable_recipes()) names += concat(" ", one);
    options.text("--type", "TYPE", type_, concat("number format or mixture of them:", names));
    const auto recipes = writable_recipes();
    options.suggest({recipes.begin(), recipes.end()});
    options.text("--imatrix", "FILE", imatrix_,
                 "importance matrix, as \"llm imatrix\" and other programs write it");
    options.flag("--keep-head", keep_head_, "the output matrix stays as it is");
    options.each(
        "--tensor-type", "REGEX=TYPE", [this](std::string_view word) { return override_by(word); },
        "the type of matrices in whose name the expression is found; repeatable, the last that is "
        "found counts");
    options.flag("--allow-requantize", allow_requantize_,
                 "also round what is rounded already, at some loss");
    options.integer("-t,--threads", "N", n_threads_, 1, kMaxThreads,
                    "threads (default: the physical cores that this process may use)");
    method_.declare(options);
    options.group("Other");
    options.flag("--dry-run", dry_run_, "only say what each tensor would become");
    options.flag("--json", json_, "the result as one JSON object");
    options.flag("-q,--quiet", quiet_, "no notes or progress on stderr");
    options.group("What was lost");
    options.flag("--report", report_,
                 "run both models over a text, and end with a verdict in words (llm eval)");
    options.text("-f,--file", "TEXT", eval_.text, "the text; - is stdin");
    options.integer("--ctx", "N", n_ctx_, 4, kMaxContext, "tokens of a window (default: 512)");
    options.integer("--windows", "N", eval_.max_windows, 1, kMaxWindows, "at most so many windows");
  }

  Result<ExitStatus> run(const Context& context) override {
    LM_TRY(check());
    if (n_ctx_ > 0) eval_.n_ctx = n_ctx_;
    const std::string text = report_ ? LM_TRY(eval_.read_text()) : "";
    if (report_) LM_TRY(check_text(text));
    QuantizeReport report;
    if (dry_run_) {
      QuantizeOptions all = options();
      all.method = LM_TRY(method_.make(context.registry, all.out, {}));
      report = LM_TRY(plan_quantize(all));
    } else {
      context.signals.hold();  // the file half written must go
      Result<QuantizeReport> done = quantize_with_progress(context);
      if (!done.ok() && pending_signal() != 0) {
        if (!quiet_) write_stderr(concat("llm: ", done.error().message, "\n"));
        return exit_status_of_signal(pending_signal());
      }
      report = LM_TRY(std::move(done));
    }
    if (!quiet_) summarise(report);
    Json json = report_json(report, out_.value_or(""));
    if (report_) {
      Result<EvalReport> measured = measure(context, text);
      if (!measured.ok() && pending_signal() != 0) return exit_status_of_signal(pending_signal());
      const EvalReport lost = LM_TRY(std::move(measured));
      json["report"] = eval_json(lost);
      if (!json_) context.out.write(eval_text(lost));
    }
    if (json_) {
      context.out.write(dump_json(json) + "\n");
    } else if (dry_run_) {
      write_table(report, context.out);
    }
    return ExitStatus::ok;
  }

 private:
  static std::vector<std::string_view> writable_recipes() {
    std::vector<std::string_view> names = recipe_names();
    std::erase_if(names, [](std::string_view one) { return !can_write_recipe(one); });
    return names;
  }

  Status override_by(std::string_view word) {
    const size_t equals = word.rfind('=');
    const std::optional<DType> type =
        equals == std::string_view::npos ? std::nullopt : dtype_from_name(word.substr(equals + 1));
    if (!type) {
      return Error{ErrorCode::bad_request,
                   concat("expected REGEX=TYPE like attn_v=q8_0, found \"", printable(word), "\"")};
    }
    overrides_.push_back({std::string(word.substr(0, equals)), *type});
    return ok();
  }

  Status check() const {
    const auto missing = [](std::string_view what) {
      return Error{ErrorCode::bad_request,
                   concat("expected ", what, ", found the end of the command line")};
    };
    if (!in_) return missing("IN.gguf");
    if (!out_ && !dry_run_) return missing("OUT.gguf");
    if (!type_) return missing("--type TYPE");
    if ((eval_.text || n_ctx_ > 0 || eval_.max_windows > 0) && !report_) {
      return Error{ErrorCode::bad_request, "expected --report with -f, --ctx and --windows"};
    }
    if (report_ && dry_run_) {
      return Error{ErrorCode::bad_request,
                   "expected --report or --dry-run, found both: what is not written can't be run"};
    }
    return ok();
  }

  // Before anything is quantized.
  Status check_text(const std::string& text) const {
    const gguf::File file = LM_TRY(gguf::File::open(*in_));
    const auto tokenizer = LM_TRY(Tokenizer::from_gguf(file));
    return check_eval_length(eval_tokens(*tokenizer, text).size(), eval_.n_ctx);
  }

  QuantizeOptions options() const {
    std::vector<std::filesystem::path> texts;
    for (const std::optional<std::string>& text : {method_.text_path(), eval_.text}) {
      if (text) texts.emplace_back(*text);
    }
    return {.in = *in_,
            .out = out_.value_or(""),
            .recipe = *type_,
            .imatrix = imatrix_.value_or(""),
            .also_read = std::move(texts),
            .keep_head = keep_head_,
            .allow_requantize = allow_requantize_,
            .overrides = overrides_,
            .n_threads = n_threads_,
            .stop = [] { return pending_signal() != 0; }};
  }

  Result<QuantizeReport> quantize_with_progress(const Context& context) const {
    ProgressBar bar("quantizing", *out_, !quiet_), layers("calibrating", *out_, !quiet_);
    QuantizeOptions all = options();
    all.method = LM_TRY(method_.make(
        context.registry, *out_,
        {.announce =
             [this](std::string_view line) {
               if (!quiet_) write_stderr(concat("llm: ", line, "\n"));
             },
         .progress = [&layers](uint64_t done, uint64_t total) { layers.update(done, total); }}));
    all.progress = [&bar](uint64_t done, uint64_t total) { bar.update(done, total); };
    return quantize(std::move(all));
  }

  // The output beside the input.
  Result<EvalReport> measure(const Context& context, const std::string& text) {
    eval_.quiet = quiet_;
    eval_.model.n_threads = n_threads_;
    std::unique_ptr<Instance> instances[2];
    for (int i = 0; i < 2; ++i) {
      eval_.model.model.path = i == 0 ? out_ : in_;
      instances[i] = LM_TRY(open_instance(context, LM_TRY(eval_.instance_options()), !quiet_));
    }
    return eval_.run(context, *instances[0], instances[1].get(), text, "measuring");
  }

  static void write_table(const QuantizeReport& report, Output& out) {
    for (const QuantizedTensor& tensor : report.tensors) {
      out.write(concat(
          padded(printable(tensor.name), 34), padded(std::string(dtype_name(tensor.from)), 7),
          "-> ", padded(std::string(dtype_name(tensor.to)), 8),
          padded(two_decimals(bits(tensor)) + " bits", 12), padded(human_bytes(tensor.bytes), 11),
          tensor.reason, tensor.weighted ? ", by importance" : "", "\n"));
    }
  }

  void summarise(const QuantizeReport& report) const {
    for (const std::string& note : report.notes) warn(note);
    write_stderr(concat("llm: ", dry_run_ ? "would be " : printable(*out_, 1000) + ": ",
                        report.recipe, ", ", report.tensors.size(), " tensors, ",
                        human_bytes(report.bytes), " after ", human_bytes(report.from_bytes), ", ",
                        two_decimals(report.bits_per_weight()), " bits a weight\n"));
  }

  std::optional<std::string> in_, out_, type_, imatrix_;
  std::vector<TypeOverride> overrides_;
  MethodOptions method_;
  int n_threads_ = 0, n_ctx_ = 0;  // 0: not said
  bool keep_head_ = false, allow_requantize_ = false, dry_run_ = false;
  bool json_ = false, quiet_ = false, report_ = false;
  EvalCommandOptions eval_;  // of the report
};

}  // namespace

std::unique_ptr<Command> make_quantize_command() {
  return std::make_unique<QuantizeCommand>();
}

}  // namespace lm::cli
