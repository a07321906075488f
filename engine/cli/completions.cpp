#include "engine/cli/completions.h"

#include <algorithm>

#include "engine/core/text.h"

namespace lm::cli {
namespace {

// 'text' in single quotes, as bash and zsh read it.
std::string quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return out + "'";
}

// What a list has room for: the first part of the help.
std::string brief(const std::string& help) {
  size_t end = help.size();
  for (const std::string_view mark : {" (", "; "}) end = std::min(end, help.find(mark));
  return help.substr(0, end);
}

std::vector<std::string> known_values(const OptionSpec& spec) {
  std::vector<std::string> values = spec.alternatives();
  values.insert(values.end(), spec.suggestions.begin(), spec.suggestions.end());
  return values;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += concat(text.empty() ? "" : " ", word);
  return text;
}

std::vector<std::string> names_of(const OptionSpec& spec) {
  std::vector<std::string> names{spec.short_name, spec.long_name};
  std::erase(names, "");
  return names;
}

std::string command_names(const std::vector<CommandSpec>& commands) {
  std::vector<std::string> names;
  for (const CommandSpec& command : commands) names.push_back(command.name);
  return joined(names);
}

// A call of _llm_values that offers what the value of an option or a word may be; empty: anything.
std::string bash_values(const OptionSpec& spec) {
  const std::string values = joined(known_values(spec));
  const std::string_view kind = spec.names_file()     ? "-f"
                                : spec.names_folder() ? "-d"
                                : values.empty()      ? ""
                                                      : "-W";
  if (kind.empty()) return "";
  return concat("_llm_values ", kind, " ", quoted(values));
}

constexpr std::string_view kBashBegin =
    R"(# bash completions for llm, made by "llm completions bash".
# Now: source <(llm completions bash). For good: in ~/.local/share/bash-completion/completions/llm
_llm_values() {  # -f, -d or -W, and words that are offered besides
  [[ $1 == -W ]] || compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(
    [[ $1 == -W ]] || compgen "$1" -- "$current"
    compgen -W "$2" -- "$current"
  )
}

_llm() {
  local -a words=()
  local w i
  for ((i = 1; i <= COMP_CWORD; ++i)); do
    w=${COMP_WORDS[i]}
    if [[ $w == '=' && ${#words[@]} -gt 0 && ${words[${#words[@]} - 1]} == --* ]]; then
      ((i < COMP_CWORD)) || words+=('')  # "--name=value" comes as three words
    else
      words+=("$w")
    fi
  done
  COMPREPLY=()
  local n=$((${#words[@]} - 1)) start=1 command options valued
  local current=${words[n]}
  command=${words[0]}
  ((n > 0)) || command=
  case $command in
)";

constexpr std::string_view kBashMiddle = R"(  esac
  local position=0 expects='' ended=''
  for ((i = start; i < n; ++i)); do
    w=${words[i]}
    if [[ $expects ]]; then
      expects=''
    elif [[ ! $ended && $w == -- ]]; then
      ended=1
    elif [[ ! $ended && $valued == *" $w "* ]]; then
      expects=$w
    elif [[ $ended || $w != -?* ]]; then
      ((++position))
    fi
  done
  if [[ ! $expects && ! $ended && $current == -* ]]; then
    _llm_values -W "$options"
    return
  fi
  case $command:${expects:-$position} in
)";

constexpr std::string_view kBashEnd = R"(  esac
}

complete -F _llm llm
)";

std::string bash_options(const CommandSpec& command, std::string_view pattern, bool is_default) {
  std::vector<std::string> options{"-h", "--help"}, valued;
  if (is_default) options.emplace_back("--version");
  for (const OptionSpec& spec : command.options) {
    for (const std::string& name : names_of(spec)) {
      options.push_back(name);
      if (!spec.is_flag()) valued.push_back(name);
    }
  }
  return concat("    ", pattern, ")\n      ",
                is_default ? concat("command=", command.name, " start=0 ") : "",
                "options=", quoted(joined(options)),
                "\n      valued=", quoted(" " + joined(valued) + " "), "\n      ;;\n");
}

// zsh: [ ] : and \ mean something inside a specification.
std::string zsh_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_action(const OptionSpec& spec) {
  const std::string values = joined(known_values(spec));
  if (spec.names_file()) return values.empty() ? "_files" : concat(" _llm_files_or ", values);
  if (spec.names_folder()) return "_files -/";
  return values.empty() ? " " : concat("(", values, ")");
}

std::string zsh_spec(const OptionSpec& spec) {
  const std::string value = concat(":", zsh_text(spec.value), ":", zsh_action(spec));
  if (spec.is_word()) return quoted(value);
  const std::string tail =
      concat("[", zsh_text(brief(spec.help)), "]", spec.is_flag() ? "" : value);
  const std::vector<std::string> names = names_of(spec);
  std::string lines;
  for (const std::string& name : names) {
    const std::string once = spec.repeatable ? "*" : concat("(", joined(names), ")");
    const std::string_view attached = spec.is_flag() ? "" : name.starts_with("--") ? "=" : "+";
    lines +=
        concat(lines.empty() ? "" : " \\\n        ", quoted(concat(once, name, attached, tail)));
  }
  return lines;
}

constexpr std::string_view kZshBegin = R"(#compdef llm
# zsh completions for llm, made by "llm completions zsh".
# Now: source <(llm completions zsh). For good: as _llm in a folder of $fpath, before compinit.
_llm_files_or() {
  _files
  compadd -- "$@"
}

_llm() {
  local command
)";

std::string fish_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string fish_values(const OptionSpec& spec) {
  const std::string values = joined(known_values(spec));
  std::string text;
  if (!spec.is_word()) text = spec.names_file() ? " -r" : " -x";
  if (spec.names_file()) text += " -F";
  if (spec.names_folder()) text += " -a '(__fish_complete_directories)'";
  if (!values.empty()) text += concat(" -a ", fish_quoted(values));
  return text;
}

constexpr std::string_view kFishBegin =
    R"(# fish completions for llm, made by "llm completions fish".
# Now: llm completions fish | source. For good: in ~/.config/fish/completions/llm.fish
function __llm_is
  set -l words (commandline -opc)
  test (count $words) -gt 1; or set words llm run
  contains -- $words[2] $__llm_commands; or set words[2] run
  test $words[2] = $argv[1]
end

function __llm_first
  test (count (commandline -opc)) -eq 1
end

complete -c llm -f
)";

}  // namespace

std::string bash_completions(const std::vector<CommandSpec>& commands) {
  std::string text(kBashBegin), values;
  for (const CommandSpec& command : commands) {
    text += bash_options(command, command.name, false);
    int position = 0;
    for (const OptionSpec& spec : command.options) {
      std::string pattern;
      for (const std::string& name : names_of(spec))
        pattern += concat(pattern.empty() ? "" : "|", command.name, ":", name);
      if (spec.is_word()) pattern = concat(command.name, ":", position++);
      const std::string call = bash_values(spec);
      if (!call.empty() && !spec.is_flag()) values += concat("    ", pattern, ") ", call, " ;;\n");
    }
  }
  text += bash_options(commands.front(), "*", true);
  values += concat("    ", commands.front().name, ":0) ((n > 0)) || _llm_values -W ",
                   quoted(command_names(commands)), " ;;\n");
  return concat(text, kBashMiddle, values, kBashEnd);
}

std::string zsh_completions(const std::vector<CommandSpec>& commands) {
  std::string text(kZshBegin), cases;
  text += "  local -a commands=(\n";
  for (const CommandSpec& command : commands) {
    text += concat("    ", quoted(concat(command.name, ":", zsh_text(command.summary))), "\n");
    cases += concat("    ", command.name, ")\n      _arguments -s -S : \\\n");
    for (const OptionSpec& spec : command.options)
      cases += concat("        ", zsh_spec(spec), " \\\n");
    cases += "        '(- *)'{-h,--help}'[this help]'\n      ;;\n";
  }
  text += concat(
      "  )\n  if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then\n"
      "    _describe command commands\n    return\n  fi\n"
      "  command=",
      commands.front().name,
      "\n"
      "  if (( ${commands[(I)$words[2]:*]} )); then\n"
      "    command=$words[2]\n    shift words\n    (( CURRENT-- ))\n  fi\n"
      "  case $command in\n",
      cases, "  esac\n}\n\n");
  return text +
         "if [[ $funcstack[1] == _llm ]]; then\n  _llm \"$@\"\nelse\n  compdef _llm llm\nfi\n";
}

std::string fish_completions(const std::vector<CommandSpec>& commands) {
  std::string text(kFishBegin);
  text += concat("set -g __llm_commands ", command_names(commands), "\n");
  text += "complete -c llm -n __llm_first -l version -d 'version and build'\n";
  for (const CommandSpec& command : commands) {
    text += concat("\ncomplete -c llm -n __llm_first -a ", command.name, " -d ",
                   fish_quoted(command.summary), "\n");
    const std::string head = concat("complete -c llm -n '__llm_is ", command.name, "'");
    for (const OptionSpec& spec : command.options) {
      if (spec.is_word()) {
        const std::string values = fish_values(spec);
        if (!values.empty()) text += concat(head, values, "\n");
        continue;
      }
      text += head;
      for (const std::string& name : names_of(spec))
        text += name.starts_with("--") ? concat(" -l ", name.substr(2))
                                       : concat(" -s ", name.substr(1));
      text += concat(spec.is_flag() ? "" : fish_values(spec), " -d ", fish_quoted(brief(spec.help)),
                     "\n");
    }
    text += concat(head, " -s h -l help -d 'this help'\n");
  }
  return text;
}

}  // namespace lm::cli
