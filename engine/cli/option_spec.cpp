#include "engine/cli/option_spec.h"

#include <algorithm>

#include "engine/core/text.h"

namespace lm::cli {
namespace {

constexpr size_t kHelpColumn = 30, kHelpWidth = 100;

std::vector<std::string> parts_of(std::string_view value) {
  std::vector<std::string> parts;
  while (!value.empty()) {
    const size_t end = std::min(value.find('|'), value.size());
    parts.emplace_back(value.substr(0, end));
    value.remove_prefix(std::min(end + 1, value.size()));
  }
  return parts;
}

bool stands_for_itself(std::string_view part) {
  return !part.empty() && part[0] >= 'a' && part[0] <= 'z';
}

bool has_part(std::string_view value, std::string_view wanted) {
  const std::vector<std::string> parts = parts_of(value);
  return std::ranges::find(parts, wanted) != parts.end();
}

}  // namespace

std::string OptionSpec::key() const {
  return long_name.empty() ? "" : long_name.substr(2);
}

std::string OptionSpec::variable() const {
  std::string variable = "LLM_" + key();
  for (char& c : variable) {
    if (c == '-') c = '_';
    if (c >= 'a' && c <= 'z') c = char(c - 'a' + 'A');
  }
  return variable;
}

std::vector<std::string> OptionSpec::alternatives() const {
  std::vector<std::string> parts = parts_of(value);
  std::erase_if(parts, [](const std::string& part) { return !stands_for_itself(part); });
  return parts;
}

bool OptionSpec::is_closed() const {
  return !value.empty() && alternatives().size() == parts_of(value).size();
}

bool OptionSpec::names_file() const {
  return has_part(value, "FILE") || (value.ends_with(".gguf") && !is_closed());
}

bool OptionSpec::names_folder() const {
  return has_part(value, "DIR");
}

std::string option_usage(const OptionSpec& spec) {
  if (spec.is_word()) return spec.value;
  std::string text = spec.short_name;
  if (!spec.short_name.empty() && !spec.long_name.empty()) text += ", ";
  text += spec.long_name;
  return spec.is_flag() ? text : concat(text, " ", spec.value);
}

std::string options_help(std::string_view program, const std::vector<OptionSpec>& specs) {
  std::string text = concat("Usage: ", program, " [OPTION]...");
  for (const OptionSpec& spec : specs) {
    if (spec.is_word()) text += " " + spec.value;
  }
  text += "\n";
  std::string_view group;
  for (const OptionSpec& spec : specs) {
    if (spec.group != group) text += concat("\n", spec.group, ":\n");
    group = spec.group;
    const bool only_long = spec.short_name.empty() && !spec.is_word();
    std::string row = help_row((only_long ? "    " : "") + option_usage(spec), spec.help);
    if (spec.is_setting()) row[0] = '*';
    text += row;
  }
  return text + "\n" + help_row("-h, --help", "this help");
}

std::string help_row(std::string_view left, std::string_view right) {
  std::string text = concat("  ", left);
  text.resize(std::max(text.size() + 2, kHelpColumn), ' ');
  for (size_t column = text.size(); !right.empty();) {
    const size_t end = std::min(right.find(' '), right.size());
    if (column + end > kHelpWidth && column > kHelpColumn) {
      text.back() = '\n';
      text.append(kHelpColumn, ' ');
      column = kHelpColumn;
    }
    text += concat(right.substr(0, end), " ");
    column += end + 1;
    right.remove_prefix(std::min(end + 1, right.size()));
  }
  text.back() = '\n';
  return text;
}

}  // namespace lm::cli
