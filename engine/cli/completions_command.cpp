// llm completions — what a shell needs to complete our command lines.
#include "engine/cli/command.h"
#include "engine/cli/completions.h"

namespace lm::cli {
namespace {

class CompletionsCommand final : public Command {
 public:
  std::string_view name() const override { return "completions"; }
  std::string_view summary() const override {
    return "a script that completes commands in a shell";
  }

  void declare(Options& options) override {
    options.word("bash|zsh|fish", shell_, "the shell; the script's first lines say where it goes");
  }

  Result<ExitStatus> run(const Context& context) override {
    if (!shell_) {
      return Error{ErrorCode::bad_request,
                   "expected bash, zsh or fish, found the end of the command line"};
    }
    const std::vector<CommandSpec> commands = catalogue();
    context.out.write(*shell_ == "bash"  ? bash_completions(commands)
                      : *shell_ == "zsh" ? zsh_completions(commands)
                                         : fish_completions(commands));
    return ExitStatus::ok;
  }

 private:
  std::optional<std::string> shell_;
};

}  // namespace

std::unique_ptr<Command> make_completions_command() {
  return std::make_unique<CompletionsCommand>();
}

}  // namespace lm::cli
