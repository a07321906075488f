// llm man — the manual page, for "man -l -" or an installation.
#include "engine/cli/command.h"
#include "engine/cli/man_page.h"

namespace lm::cli {
namespace {

class ManCommand final : public Command {
 public:
  std::string_view name() const override { return "man"; }
  std::string_view summary() const override {
    return "the manual page in roff: llm man | man -l -";
  }
  void declare(Options&) override {}
  Result<ExitStatus> run(const Context& context) override {
    context.out.write(man_page(catalogue()));
    return ExitStatus::ok;
  }
};

}  // namespace

std::unique_ptr<Command> make_man_command() {
  return std::make_unique<ManCommand>();
}

}  // namespace lm::cli
