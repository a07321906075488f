#include "engine/cli/settings.h"

#include <algorithm>
#include <cstdlib>

#include "engine/cli/catalogue.h"
#include "engine/cli/config_file.h"
#include "engine/core/file.h"
#include "engine/core/text.h"
#include "engine/core/user_folder.h"

namespace lm::cli {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = 1 << 20;
constexpr std::string_view kNoFile = "none";

Error refused(std::string message) {
  return Error{ErrorCode::bad_request, std::move(message)};
}

Status apply_environment(Options& options) {
  for (size_t i = 0; i < options.specs().size(); ++i) {
    const OptionSpec& spec = options.specs()[i];
    if (!spec.is_setting() || options.given(i)) continue;
    const char* const text = std::getenv(spec.variable().c_str());
    if (text == nullptr || *text == '\0') continue;
    Status status = options.set(i, text);
    if (!status.ok()) return std::move(status).error().within("$" + spec.variable());
  }
  return ok();
}

// "~/models/a.gguf": the shell does this for what is typed.
std::string with_home(const OptionSpec& spec, const std::string& value) {
  const char* const home = std::getenv("HOME");
  const bool names_path = spec.names_file() || spec.names_folder();
  if (!names_path || !value.starts_with("~/") || home == nullptr) return value;
  return home + value.substr(1);
}

Status set_from_entry(Options& options, size_t index, const ConfigEntry& entry) {
  const OptionSpec& spec = options.specs()[index];
  if (entry.kind == ConfigEntry::Kind::list && !spec.repeatable)
    return refused("expected one value, found a list");
  if (entry.kind == ConfigEntry::Kind::boolean && !spec.is_flag())
    return refused(concat("expected ", spec.value, ", found ", entry.values.front()));
  for (const std::string& value : entry.values) {
    LM_TRY(options.set(index, with_home(spec, value)));
  }
  return ok();
}

const OptionSpec* find_key(const std::vector<OptionSpec>& specs, std::string_view key) {
  const auto spec = std::ranges::find(specs, key, &OptionSpec::key);
  return spec == specs.end() || key.empty() ? nullptr : &*spec;
}

// The keys of a file are checked whichever command reads it: a slip is found at once.
Status check_entry(const ConfigEntry& entry, const std::vector<CommandSpec>& commands) {
  bool is_option = false;
  for (const CommandSpec& command : commands) {
    if (!entry.table.empty() && entry.table != command.name) continue;
    const OptionSpec* spec = find_key(command.options, entry.key);
    if (spec == nullptr) continue;
    if (spec->origin == Origin::file) return ok();
    is_option = true;
  }
  const std::string name = printable(entry.key);
  if (is_option) {
    return refused(concat("expected a setting, found ", name, ", which belongs to one call: --",
                          name, " on the command line"));
  }
  const std::string where = entry.table.empty() ? "" : concat(" of \"llm ", entry.table, "\"");
  return refused(
      concat("expected a setting", where, ", found ", name,
             "\nthe manual (\"llm man\") lists them: long options without their dashes"));
}

Status check_file(const ConfigFile& file, const fs::path& path) {
  const std::vector<CommandSpec> commands = catalogue();
  const auto place = [&](int line) { return concat(printable(path.native()), ":", line); };
  for (const auto& [table, line] : file.tables) {
    if (std::ranges::find(commands, table, &CommandSpec::name) != commands.end()) continue;
    return refused(
        concat(place(line), ": expected the name of a command, found [", printable(table), "]"));
  }
  for (const ConfigEntry& entry : file.entries) {
    Status status = check_entry(entry, commands);
    if (!status.ok()) return std::move(status).error().within(place(entry.line));
  }
  return ok();
}

Status apply_file(Options& options, std::string_view own_table, const ConfigFile& file,
                  const fs::path& path) {
  for (const std::string_view table : {own_table, std::string_view()}) {
    for (const ConfigEntry& entry : file.entries) {
      if (entry.table != table) continue;
      const OptionSpec* spec = find_key(options.specs(), entry.key);
      if (spec == nullptr || spec->origin != Origin::file) continue;
      const auto index = size_t(spec - options.specs().data());
      if (options.given(index)) continue;
      Status status = set_from_entry(options, index, entry);
      if (!status.ok()) {
        return std::move(status).error().within(
            concat(printable(path.native()), ":", entry.line, ": ", entry.key));
      }
    }
  }
  return ok();
}

}  // namespace

void Settings::declare(Options& options) {
  if (std::ranges::none_of(options.specs(), &OptionSpec::is_setting)) return;
  options.group("Settings");
  options.text("--config", concat("FILE|", kNoFile), file_,
               "read settings from FILE (default: $XDG_CONFIG_HOME/llm/config.toml or "
               "~/.config/llm/config.toml)");
  options.setting(Origin::environment);
}

Status Settings::apply(Options& options, std::string_view table) const {
  LM_TRY(apply_environment(options));
  if (file_ == kNoFile || std::ranges::none_of(options.specs(), &OptionSpec::is_setting))
    return ok();
  const fs::path path =
      file_ ? fs::path(*file_)
            : user_folder(std::getenv("XDG_CONFIG_HOME"), std::getenv("HOME"), ".config");
  const fs::path name = file_ || path.empty() ? path : path / "config.toml";
  std::error_code failed;
  if (name.empty() || (!file_ && !fs::exists(name, failed) && !failed)) return ok();
  const std::string text = LM_TRY(read_file(name, kMaxConfigBytes));
  const ConfigFile file = LM_TRY(parse_config(text, name.native()));
  if (file.entries.empty() && file.tables.empty()) return ok();
  LM_TRY(check_file(file, name));
  return apply_file(options, table, file, name);
}

}  // namespace lm::cli
