#include "engine/cli/cli.h"

#include <fcntl.h>
#include <unistd.h>

#include <exception>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "engine/cli/build_facts.h"
#include "engine/cli/catalogue.h"
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

std::string general_help(const std::vector<std::unique_ptr<Command>>& commands) {
  std::string text = help_row("--version", "the version, and what was built");
  text += "\nCommands (\"llm COMMAND --help\" lists the options of each; without a name: run):\n";
  for (const std::unique_ptr<Command>& command : commands) {
    text += help_row(command->name(), command->summary());
  }
  text +=
      "\nSettings: options with a * may also come from the environment, --top-k from LLM_TOP_K, or "
      "from the\nconfiguration file, --top-k 20 as top-k = 20; \"llm man | man -l -\" says how.\n";
  text += "\nExit status:\n";
  for (const ExitMeaning& row : exit_meanings()) text += help_row(row.status, row.meaning);
  return text;
}

Result<ExitStatus> dispatch(std::vector<std::string> arguments, const Context& context) {
  const std::vector<std::unique_ptr<Command>> commands = all_commands();
  if (!arguments.empty() && arguments[0] == "--version") {
    context.out.write(build_facts());
    return ExitStatus::ok;
  }
  if (!arguments.empty() && arguments[0] == "help") {  // "help bench" is "bench --help"
    arguments.erase(arguments.begin());
    arguments.emplace_back("--help");
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
  Settings settings;
  chosen->declare(options);
  settings.declare(options);
  if (LM_TRY(options.parse(arguments))) {
    const std::string help = options_help(options.program(), options.specs());
    context.out.write(named ? concat(chosen->summary(), "\n", help)
                            : concat(kGreeting, help, general_help(commands)));
    return ExitStatus::ok;
  }
  LM_TRY(settings.apply(options, chosen->table()));
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
