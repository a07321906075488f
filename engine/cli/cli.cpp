#include "engine/cli/cli.h"

#include <fcntl.h>
#include <unistd.h>

#include <exception>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "engine/cli/command.h"
#include "engine/cli/settings.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

constexpr std::string_view kGreeting =
    "Runs a language model on this machine: llm -m MODEL.gguf -p \"Once upon a time\"\n";

// A standard stream that the parent closed is opened so that using it fails: else the first file
// that is opened would take its number, and be written to.
void keep_standard_streams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(fd, F_GETFD) != -1) continue;
    (void)!open("/dev/null", O_RDONLY);  // reading gives nothing, writing fails
  }
}

std::vector<std::unique_ptr<Command>> all_commands() {
  std::vector<std::unique_ptr<Command>> commands;
  commands.push_back(make_run_command());  // also what "llm" alone means
  commands.push_back(make_chat_command());
  commands.push_back(make_inspect_command());
  commands.push_back(make_tokenize_command());
  commands.push_back(make_render_command());
  commands.push_back(make_logits_command());
  commands.push_back(make_bench_command());
  commands.push_back(make_convert_command());
  commands.push_back(make_export_command());
  commands.push_back(make_quantize_command());
  commands.push_back(make_eval_command());
  commands.push_back(make_imatrix_command());
  commands.push_back(make_devices_command());
  return commands;
}

std::string general_help(const std::vector<std::unique_ptr<Command>>& commands) {
  std::string text = help_row("--version", "the version of this program");
  text += "\nCommands (\"llm COMMAND --help\" lists the options of each; without a name: run):\n";
  for (const std::unique_ptr<Command>& command : commands) {
    text += help_row(command->name(), command->summary());
  }
  text += "\nOptions with a * may also come from the environment: --top-k from LLM_TOP_K.\n";
  text += "\nExit status:\n";
  text += help_row("0", "finished");
  text += help_row("1", "something failed while running");
  text += help_row("2", "the command line is wrong");
  text += help_row("3", "the model or another input file is missing, damaged or unsupported");
  text += help_row("4", "not enough memory");
  text += help_row("5", "the prompt does not fit the context");
  text += help_row("130, 141, 143", "interrupted, the reader of stdout has gone, terminated");
  return text;
}

Result<ExitStatus> dispatch(std::vector<std::string> arguments, const Context& context) {
  const std::vector<std::unique_ptr<Command>> commands = all_commands();
  if (!arguments.empty() && arguments[0] == "--version") {
    context.out.write("llm " LLM_VERSION "\n");
    return ExitStatus::ok;
  }
  Command* chosen = nullptr;
  for (const std::unique_ptr<Command>& command : commands) {
    if (!arguments.empty() && arguments[0] == command->name()) chosen = command.get();
  }
  const bool named = chosen != nullptr;
  if (named) {
    arguments.erase(arguments.begin());
  } else {
    if (!arguments.empty() && !arguments[0].empty() && arguments[0][0] != '-') {
      return with_hint(
          Error{ErrorCode::bad_request,
                concat("expected a command or an option, found \"", printable(arguments[0]), "\"")},
          "\"llm --help\" lists the commands; llm -p \"TEXT\" continues a text");
    }
    chosen = commands.front().get();
  }
  Options options(named ? concat("llm ", chosen->name()) : "llm");
  chosen->declare(options);
  if (LM_TRY(options.parse(arguments))) {
    const std::string help = options_help(options.program(), options.specs());
    context.out.write(named ? concat(chosen->summary(), "\n", help)
                            : concat(kGreeting, help, general_help(commands)));
    return ExitStatus::ok;
  }
  LM_TRY(read_environment(options));
  return chosen->run(context);
}

}  // namespace

int run(int argc, char** argv, const Registry& registry) {
  keep_standard_streams();
  Signals signals;
  Output out;
  ExitStatus status = ExitStatus::failed;
  try {
    if (const Status installed = signals.install(); !installed.ok()) {
      return int(report(installed.error()));
    }
    Result<ExitStatus> result =
        dispatch({argv + (argc > 0 ? 1 : 0), argv + argc}, {registry, signals, out});
    status = result.ok() ? result.value() : report(result.error());
  } catch (const std::bad_alloc&) {
    status =
        report(Error{ErrorCode::out_of_memory, "expected more memory than this process can get"});
  } catch (const std::system_error&) {  // of a thread: it has no error code of its own
    status = report(
        Error{ErrorCode::out_of_memory, "expected another thread, and the system refused it"});
  } catch (const std::exception& e) {
    status = report(Error{ErrorCode::device, concat("internal error: ", e.what())});
  }
  if (status != ExitStatus::ok) return int(status);
  return int(out.finish());
}

}  // namespace lm::cli
