#include "engine/cli/catalogue.h"

#include "engine/cli/settings.h"

namespace lm::cli {

std::vector<std::unique_ptr<Command>> all_commands() {
  std::vector<std::unique_ptr<Command>> commands;
  commands.push_back(make_run_command());
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
  commands.push_back(make_completions_command());
  commands.push_back(make_man_command());
  return commands;
}

std::vector<CommandSpec> catalogue() {
  std::vector<CommandSpec> specs;
  for (const std::unique_ptr<Command>& command : all_commands()) {
    Options options("llm");
    Settings settings;
    command->declare(options);
    settings.declare(options);
    specs.push_back(
        {std::string(command->name()), std::string(command->summary()), options.specs()});
  }
  return specs;
}

}  // namespace lm::cli
