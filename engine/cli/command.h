// engine/cli/command.h — what every subcommand is: a name, the options it takes, and a run. Each
// lives in a file of its own; catalogue.cpp lists them.
#pragma once
#include <memory>
#include <string_view>
#include <vector>

#include "engine/cli/exit_status.h"
#include "engine/cli/options.h"
#include "engine/cli/output.h"
#include "engine/cli/signals.h"
#include "engine/core/result.h"

namespace lm {
class Registry;
}

namespace lm::cli {

// What a command runs in.
struct Context {
  const Registry& registry;
  Signals& signals;
  Output& out;
};

class Command {
 public:
  virtual ~Command() = default;
  virtual std::string_view name() const = 0;     // "inspect"
  virtual std::string_view summary() const = 0;  // one line of --help
  virtual void declare(Options& options) = 0;    // targets are members of the command
  // The table of the configuration file that it reads, known once its options are parsed.
  virtual std::string_view table() const { return name(); }
  // An Error is reported and becomes the exit status. Output is finished by the caller.
  virtual Result<ExitStatus> run(const Context& context) = 0;
};

std::unique_ptr<Command> make_run_command();
std::unique_ptr<Command> make_chat_command();
std::unique_ptr<Command> make_inspect_command();
std::unique_ptr<Command> make_tokenize_command();
std::unique_ptr<Command> make_logits_command();
std::unique_ptr<Command> make_bench_command();
std::unique_ptr<Command> make_convert_command();
std::unique_ptr<Command> make_export_command();
std::unique_ptr<Command> make_quantize_command();
std::unique_ptr<Command> make_eval_command();
std::unique_ptr<Command> make_imatrix_command();
std::unique_ptr<Command> make_devices_command();
std::unique_ptr<Command> make_render_command();
std::unique_ptr<Command> make_completions_command();
std::unique_ptr<Command> make_man_command();

}  // namespace lm::cli
