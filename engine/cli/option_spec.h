// engine/cli/option_spec.h — what an option is, said once: --help, the manual page, the shells'
// completions, the environment and the configuration file all follow from it.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace lm::cli {

// The farthest place that a value may come from; those before it come first.
enum class Origin { command_line, environment, file };

struct OptionSpec {
  std::string group;
  std::string short_name, long_name;  // "-n", "--max-tokens"; both empty: a word, not an option
  // In the usual notation: "N", "error|shift", "FILE|ngram|off". What begins with a small letter
  // stands for itself; FILE, IN.gguf and the like, and DIR are names of files and folders. Empty: a
  // flag, on or off.
  std::string value;
  std::string help;
  std::vector<std::string> suggestions{};  // values known besides, for completions
  bool repeatable = false;
  Origin origin = Origin::command_line;

  bool is_setting() const { return origin != Origin::command_line; }
  bool is_word() const { return short_name.empty() && long_name.empty(); }
  bool is_flag() const { return !is_word() && value.empty(); }
  const std::string& name() const { return long_name.empty() ? short_name : long_name; }
  std::string key() const;       // "max-tokens", in the configuration file
  std::string variable() const;  // "LLM_MAX_TOKENS"

  std::vector<std::string> alternatives() const;  // those of `value` that stand for themselves
  bool is_closed() const;                         // there are no others
  bool names_file() const;
  bool names_folder() const;
};

// "-n, --max-tokens N".
std::string option_usage(const OptionSpec& spec);

// The options by group, in the order of their declaration, in columns.
std::string options_help(std::string_view program, const std::vector<OptionSpec>& specs);

// A row of --help: `left` in a column of its own, `right` wrapped beside it.
std::string help_row(std::string_view left, std::string_view right);

}  // namespace lm::cli
