// llm bench — how fast a model runs here, and how fast it could.
#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>
#include <utility>

#include "engine/cli/command.h"
#include "engine/cli/model_options.h"
#include "engine/cli/terminal.h"
#include "engine/core/text.h"
#include "engine/tools/bench.h"
#include "engine/tools/bench_speculation.h"
#include "engine/tools/bench_turns.h"
#include "engine/tools/bench_users.h"
#include "engine/tools/devices.h"

namespace lm::cli {
namespace {

constexpr int64_t kMaxTokens = 1 << 20, kMaxSequences = 256, kMaxListed = 64;
constexpr int kMaxRepetitions = 1000;

// "128,512" as numbers in a range.
Result<std::vector<int>> integers_in(std::string_view list, int64_t least, int64_t most) {
  std::vector<int> numbers;
  for (size_t start = 0; start <= list.size();) {
    const size_t end = std::min(list.find(',', start), list.size());
    numbers.push_back(int(LM_TRY(integer_in(list.substr(start, end - start), least, most))));
    start = end + 1;
  }
  if (int64_t(numbers.size()) <= kMaxListed) return numbers;
  return Error{ErrorCode::bad_request,
               concat("expected at most ", kMaxListed, " numbers, found ", numbers.size())};
}

std::string fixed(double value, int decimals, int width = 0) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(decimals) << std::setw(width) << value;
  return std::move(out).str();
}

std::string speed(double tokens_per_second) {
  return fixed(tokens_per_second, tokens_per_second < 100 ? 2 : 1, 9);
}

std::string percent(double fraction) {
  return fraction > 0 ? fixed(100 * fraction, 1, 7) + " %" : "        ?";
}

std::string padded(std::string text, size_t width) {
  if (text.size() < width) text.resize(width, ' ');
  return text;
}

// What is known before the model is loaded.
std::string preview(const BenchPlan& plan, const BenchDevice& device) {
  const DeviceLimits& limits = device.limits;
  std::string text =
      concat("model    ", printable(plan.model), ", ", plan.type, ": weights ",
             human_bytes(plan.cost.file_bytes()), ", of which a token reads ",
             human_bytes(plan.cost.bytes_per_token()), "; KV cache ", human_bytes(plan.kv_bytes),
             " for ", plan.max_seqs, " x ", plan.n_ctx, " tokens\n");
  if (limits.read_bytes_per_second == 0) return concat(text, "machine  ", device.name, "\n");
  text += concat("machine  ", device.name, ", ", device.isa);
  if (device.n_threads > 0) {
    text += concat(", ", device.n_threads, device.n_threads == 1 ? " thread" : " threads");
  }
  text += concat(": ", limits_text(limits), "\n");
  const char* separator = "at best  ";
  for (const BenchTest& test : plan.tests) {
    text += concat(separator, test.name(), " ", fixed(plan.best(test, limits), 1), " t/s");
    separator = ", ";
  }
  return text + "\n";
}

// Of a model that several devices compute.
std::string divided_text(const BenchReport& report, const BenchDevice& device) {
  if (report.rooms.size() < 2) return "";
  std::string text;
  for (const BenchRoom& room : report.rooms) {
    text += concat(text.empty() ? "computed by " : "; ", printable(room.device), ": ", room.parts);
  }
  return concat(text, "\nthe limits are those of ", device.name, " alone\n");
}

Json preview_json(const BenchPlan& plan, const BenchDevice& device) {
  Json object = bench_json(plan, device, {});
  object["weight_bytes_per_token"] = plan.cost.bytes_per_token();
  object["weight_bytes"] = plan.cost.file_bytes();
  object["kv_bytes"] = plan.kv_bytes;
  for (const char* key : {"results", "load_seconds", "peak_rss_bytes", "rooms"}) object.erase(key);
  for (const BenchTest& test : plan.tests) {
    object["at_best"][test.name()] = plan.best(test, device.limits);
  }
  return object;
}

class BenchCommand final : public Command {
 public:
  std::string_view name() const override { return "bench"; }
  std::string_view summary() const override {
    return "how fast a model runs, and how fast it could";
  }

  void declare(Options& options) override;
  Result<ExitStatus> run(const Context& context) override;

 private:
  void list(Options& options, std::string_view names, std::vector<int>& target, int64_t least,
            int64_t most, std::string_view help);
  Status resolve();
  Status check_mode() const;
  Result<ExitStatus> run_turns(const Context& context) const;
  Result<ExitStatus> run_users(const Context& context) const;
  void write_table(const Context& context, const BenchResult& result);
  Result<ExitStatus> compare_drafts(const Context& context);

  ModelOptions model_;
  BenchOptions wanted_;
  std::optional<std::string> shape_, type_, save_;
  int turns_ = 0, users_ = 0;
  bool dry_run_ = false, json_ = false, speculation_ = false;
  bool table_started_ = false;
};

void BenchCommand::list(Options& options, std::string_view names, std::vector<int>& target,
                        int64_t least, int64_t most, std::string_view help) {
  options.value(
      names, "N[,N...]",
      [&target, least, most](std::string_view word) -> Status {
        target = LM_TRY(integers_in(word, least, most));
        return ok();
      },
      help);
}

void BenchCommand::declare(Options& options) {
  std::string shapes, types;
  std::vector<std::string> shape_names, type_names;
  for (const ModelShape& shape : known_shapes()) {
    shapes += concat(" ", shape.name);
    shape_names.emplace_back(shape.name);
  }
  for (const std::string_view type : known_recipes()) {
    types += concat(" ", type);
    type_names.emplace_back(type);
  }
  options.group("Tests");
  list(options, "-p", wanted_.prompts, 0, kMaxTokens,
       "prompt tokens; 0: no such test (default: 512)");
  list(options, "-n", wanted_.generations, 0, kMaxTokens,
       "generated tokens; 0: no such test (default: 128)");
  list(options, "-d,--depth", wanted_.depths, 0, kMaxTokens,
       "tokens in the context when a test begins (default: 0)");
  list(options, "-b,--sequences", wanted_.sequences, 1, kMaxSequences,
       "sequences generated at once; their speeds are added (default: 1)");
  options.integer("-r,--repetitions", "N", wanted_.repetitions, 1, kMaxRepetitions,
                  "times that each test runs, after a warm-up (default: 5)");
  options.integer("--kv-block", "N", wanted_.instance.block_size, 1, 4096,
                  "tokens in a block of the KV cache (default: 32)");
  options.integer("--turns", "N", turns_, 1, kMaxTokens,
                  "instead of these: the time to the first token after N tokens of history, new, "
                  "kept in memory, and kept on disk");
  options.integer(
      "--users", "N", users_, 2, kMaxSequences,
      "only what N users of one engine get who ask at once, beside what one gets alone: "
      "answers of -n tokens; then how long the streams of N - 1 of them stop while the "
      "other one's prompt of -p tokens is read");
  options.flag("--speculation", speculation_,
               "only what drafts bring: answers of -n tokens with and without them, in turns; the "
               "draft models are made out of the model, which plays one of a tenth of the size");
  options.flag("--dry-run", dry_run_,
               "only what the model needs and could reach, without loading it");
  options.flag("--json", json_,
               "one object: model, type, weight_bytes_per_token, threads, device, isa, limits, "
               "results, load_seconds, peak_rss_bytes, rooms (what each device computes); of "
               "--turns, --users and --speculation what these measure instead");
  model_.declare(options, ModelOptions::Cache::per_call);
  options.group("Random weights instead of a model");
  options.text("--shape", "NAME", shape_, concat("the shape of a known model:", shapes));
  options.suggest(shape_names);
  options.text("--type", "TYPE", type_,
               concat("how its weights are stored, a mix or one type (default: q4_K_M):", types));
  options.suggest(type_names);
  options.text("--save", "FILE", save_, "write them to a GGUF file, and end");
}

// From the options to what the tool wants. Everything that can be refused is refused here.
Status BenchCommand::resolve() {
  if (!shape_ && (type_ || save_)) {
    return with_hint(
        Error{ErrorCode::bad_request,
              concat("expected --shape with ", type_ ? "--type" : "--save", ", found none")},
        "--type and --save are about random weights; a model file has its own types");
  }
  if (shape_) {
    wanted_.synthetic = SyntheticModel{.shape = LM_TRY(find_shape(*shape_)),
                                       .recipe = type_ ? *type_ : std::string_view("q4_K_M")};
    LM_TRY(make_tensors(*wanted_.synthetic->shape, wanted_.synthetic->recipe));
    model_.model.path = *shape_;  // in place of a file
  }
  const int block_size = wanted_.instance.block_size;
  wanted_.instance = LM_TRY(model_.instance_options());
  wanted_.instance.block_size = block_size;
  return check_mode();
}

// Options that another one makes useless.
Status BenchCommand::check_mode() const {
  const bool turns = turns_ > 0, users = users_ > 0, drafts = speculation_;
  const std::pair<std::string_view, bool> modes[] = {
      {"--turns", turns}, {"--users", users}, {"--speculation", drafts}, {"--dry-run", dry_run_}};
  std::string_view chosen;
  for (const auto& [name, given] : modes) {
    if (!given) continue;
    if (!chosen.empty()) {
      return Error{ErrorCode::bad_request, concat("expected no ", name, " with ", chosen)};
    }
    chosen = name;
  }
  if (!turns && !users && !drafts) return ok();
  const BenchOptions usual;
  const std::pair<std::string_view, bool> useless[] = {
      {"-d", wanted_.depths != usual.depths},
      {"-b", wanted_.sequences != usual.sequences},
      {"-p", !users && wanted_.prompts != usual.prompts},
      {"-n", turns && wanted_.generations != usual.generations},
      {"-r", turns && wanted_.repetitions != usual.repetitions},
      {"second number of -p", wanted_.prompts.size() > 1},
      {"second number of -n", wanted_.generations.size() > 1}};
  for (const auto& [name, given] : useless) {
    if (given) return Error{ErrorCode::bad_request, concat("expected no ", name, " with ", chosen)};
  }
  const bool answers = wanted_.generations.front() > 0;
  if (drafts && !answers) {
    return Error{ErrorCode::bad_request,
                 "expected a generation test with --speculation, found -n 0"};
  }
  if (!users || answers || wanted_.prompts.front() > 0) return ok();
  return Error{ErrorCode::bad_request, "expected a prompt or a generation test, found neither"};
}

Result<ExitStatus> BenchCommand::run(const Context& context) {
  LM_TRY(resolve());
  if (save_) {
    LM_TRY(save_synthetic(*wanted_.synthetic, *save_));
    return ExitStatus::ok;
  }
  if (turns_ > 0) return run_turns(context);
  if (users_ > 0) return run_users(context);
  if (speculation_) return compare_drafts(context);
  const BenchPlan plan = LM_TRY(plan_bench(wanted_));
  const BenchDevice device = LM_TRY(measure_device(context.registry, wanted_.instance));
  if (dry_run_) {
    context.out.write(json_ ? dump_json(preview_json(plan, device)) + "\n" : preview(plan, device));
    return ExitStatus::ok;
  }
  if (!json_) context.out.write(preview(plan, device));
  const Status fits = check_memory(wanted_, plan, device);
  if (!fits.ok()) {
    return with_hint(fits.error(), "fewer or shorter sequences, --kv q8_0, or a smaller model");
  }
  const BenchReport report =
      LM_TRY(run_bench(context.registry, wanted_, plan, device, [&](const BenchResult& result) {
        if (!json_) write_table(context, result);
      }));
  if (report.weights_in_file) warn_weights_in_file();
  context.out.write(json_ ? dump_json(bench_json(plan, device, report)) + "\n"
                          : concat("\n", divided_text(report, device), "loaded in ",
                                   fixed(report.load_seconds, 2), " s, peak memory ",
                                   human_bytes(report.peak_rss), "\n"));
  return ExitStatus::ok;
}

Result<ExitStatus> BenchCommand::run_turns(const Context& context) const {
  std::error_code failed;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(failed);
  const TurnTimes t = LM_TRY(bench_turns(context.registry, wanted_, turns_, folder));
  const auto row = [&](std::string_view name, double seconds) {
    return concat(name, fixed(seconds, 4), " s  ", percent(seconds / t.first), "\n");
  };
  context.out.write(json_ ? dump_json(turns_json(t)) + "\n"
                          : concat("first token after ", t.history, " tokens of history\n",
                                   row("computed               ", t.first),
                                   row("next turn, in memory   ", t.memory),
                                   row("next turn, from disk   ", t.disk)));
  return ExitStatus::ok;
}

Result<ExitStatus> BenchCommand::run_users(const Context& context) const {
  const UsersResult r = LM_TRY(bench_users(context.registry, wanted_, users_));
  if (json_) {
    context.out.write(dump_json(users_json(r)) + "\n");
    return ExitStatus::ok;
  }
  std::string text;
  if (r.one > 0) {
    text += concat("one user   ", speed(r.one), " t/s\n", padded(concat(r.users, " users"), 11),
                   speed(r.all), " t/s in total, ", fixed(r.ratio, 2), " times as many\n");
  }
  if (r.prompt_tokens > 0) {
    text += concat("a prompt of ", r.prompt_tokens, " tokens, read in ", r.chunks, " chunks of ",
                   fixed(r.chunk_seconds, 3), " s: between two tokens of another stream at most ",
                   fixed(r.longest_gap, 3), " s and ", r.most_steps, " forward pass",
                   r.most_steps == 1 ? "" : "es", "\n");
  }
  context.out.write(text);
  return ExitStatus::ok;
}

Result<ExitStatus> BenchCommand::compare_drafts(const Context& context) {
  if (!json_)
    context.out.write("drafts        plain t/s   drafted     ratio    wanted  accepted\n");
  const auto results =
      LM_TRY(run_speculation_bench(context.registry, wanted_, [&](const SpeculationResult& result) {
        if (json_) return;
        context.out.write(concat(padded(result.test, 14), speed(result.plain), " ",
                                 speed(result.drafted), fixed(result.ratio, 2, 10),
                                 fixed(result.wanted, 2, 10), "  ", result.accepted_tokens, " of ",
                                 result.drafted_tokens, " for ", result.generated_tokens, "\n"));
      }));
  if (json_) context.out.write(dump_json(Json{{"results", speculation_json(results)}}) + "\n");
  return ExitStatus::ok;
}

void BenchCommand::write_table(const Context& context, const BenchResult& result) {
  std::string text;
  if (!table_started_) text = "\ntest            median t/s       min       max  of limit\n";
  table_started_ = true;
  context.out.write(concat(text, padded(result.test.name(), 17), speed(result.median), " ",
                           speed(result.min), " ", speed(result.max), " ", percent(result.fraction),
                           "\n"));
}

}  // namespace

std::unique_ptr<Command> make_bench_command() {
  return std::make_unique<BenchCommand>();
}

}  // namespace lm::cli
