#include "engine/cli/man_page.h"

#include <algorithm>

#include "engine/cli/build_facts.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

// Text as roff shows it unchanged: no escapes, no requests, dashes that can be copied.
std::string roff(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool begins_line = i == 0 || text[i - 1] == '\n';
    if (begins_line && (text[i] == '.' || text[i] == '\'')) out += "\\&";
    switch (text[i]) {
      case '\\':
        out += "\\e";
        break;
      case '-':
        out += "\\-";
        break;
      case '\'':
        out += "\\(aq";
        break;
      case '`':
        out += "\\(ga";
        break;
      case '^':
        out += "\\(ha";
        break;
      case '~':
        out += "\\(ti";
        break;
      default:
        out += text[i];
    }
  }
  return out;
}

std::string bold(std::string_view text) {
  return concat("\\fB", roff(text), "\\fR");
}

std::string option_term(const OptionSpec& spec) {
  if (spec.is_word()) return concat("\\fI", roff(spec.value), "\\fR");
  std::string text;
  for (const std::string& name : {spec.short_name, spec.long_name}) {
    if (!name.empty()) text += concat(text.empty() ? "" : ", ", bold(name));
  }
  return spec.is_flag() ? text : concat(text, " \\fI", roff(spec.value), "\\fR");
}

std::string option_text(const OptionSpec& spec) {
  std::string text = concat(".TP\n", option_term(spec), "\n", roff(spec.help), ".\n");
  if (!spec.is_setting()) return text;
  return text + concat("Setting: ", roff("$" + spec.variable()),
                       spec.origin == Origin::file ? concat(", ", bold(spec.key())) : "", ".\n");
}

bool same(const OptionSpec& a, const OptionSpec& b) {
  return a.short_name == b.short_name && a.long_name == b.long_name && a.value == b.value &&
         a.help == b.help && a.origin == b.origin;
}

// One command's section. Options that mean the same in `main` are only named.
std::string command_section(const CommandSpec& command, const CommandSpec& main) {
  std::string text = concat(".SS ", roff("llm " + command.name)), described, shared;
  for (const OptionSpec& spec : command.options) {
    if (spec.is_word()) text += concat(" ", roff(spec.value));
    const bool known = std::ranges::any_of(
        main.options, [&](const OptionSpec& other) { return same(spec, other); });
    if (known && !spec.is_word()) {
      shared += concat(shared.empty() ? "" : ", ", bold(spec.name()));
    } else {
      described += option_text(spec);
    }
  }
  text += concat("\n", roff(command.summary), ".\n", described);
  if (!shared.empty()) text += concat(".PP\nAs in ", bold("llm " + main.name), ": ", shared, ".\n");
  return text;
}

std::string main_options(const CommandSpec& main) {
  std::string text;
  std::string_view group;
  for (const OptionSpec& spec : main.options) {
    if (spec.group != group) text += concat(".SS ", roff(spec.group), "\n");
    group = spec.group;
    text += option_text(spec);
  }
  return text;
}

constexpr std::string_view kDescription = R"(.SH DESCRIPTION
Runs large language models on this machine, from one GGUF file.
.PP
.B llm
in a terminal is a chat;
.B llm \-p
.I TEXT
answers one prompt on stdout and writes nothing else there.
What stdin holds, when it is a pipe or a file, follows the prompt after a blank line.
Progress goes to stderr, and only to a terminal.
The same command with the same seed prints the same bytes.
.PP
An option's value may follow after a space or, after a long name, an equals sign:
.BR \-\-ctx=4096 .
The last use of an option counts.
After
.B \-\-
nothing is an option, whatever it looks like.
)";

constexpr std::string_view kSettings = R"(.SH SETTINGS
Options that a person may want the same every time need not be typed: those with a
.I Setting
line above. A value comes from the first of
.IP 1. 4
the command line,
.IP 2. 4
the environment: the long name in capitals after
.BR LLM_ ,
with underscores; empty counts as not set; a flag is on or off,
.IP 3. 4
the configuration file: first the table of the command, then what stands above all tables,
.IP 4. 4
the model's file, which may recommend sampling values,
.IP 5. 4
the default.
.PP
The configuration file is TOML: the long name without its dashes, an equals sign, and a "text", a number,
.B true
or
.BR false ;
options that may be repeated take a [list]. A table such as
.B [chat]
is for that command alone;
.B llm
without a command reads
.B [chat]
or
.BR [run] ,
whichever it does. Texts in three quotes may have several lines. Paths may begin with
.BR \(ti/ .
A flag that is on by a setting is turned off by
.BR \-\-quiet=off .
What is wrong in the file is an error that names the line, whichever command reads it.
.PP
.EX
model = "\(ti/models/qwen3\-8b\-q4_K_M.gguf"
temp = 0.6
stop = ["END", "\en\en\en"]

[chat]
system = """
You are terse.
You answer in metric units."""
.EE
)";

constexpr std::string_view kFiles = R"(.SH FILES
.TP
.I \(ti/.config/llm/config.toml
settings; below $XDG_CONFIG_HOME when that is set
.TP
.I \(ti/.local/share/llm/chats
conversations; below $XDG_DATA_HOME when that is set
.TP
.I \(ti/.cache/llm
what was computed of conversations; below $XDG_CACHE_HOME when that is set
.SH ENVIRONMENT
.TP
.B LLM_CPU
the instruction set to use, one of those that
.B llm \-\-version
lists, in place of the fastest
.TP
.B LLM_CUDA_AHEAD
.B off
launches no step on an NVIDIA device before the token in front of it has been drawn
.TP
.B LLM_CUDA_GRAPHS
.B off
runs every step on an NVIDIA device call by call, in place of recording it
.TP
.B LLM_CUDA_OVERLAP
.B off
begins no kernel on an NVIDIA device before the one in front of it has ended
.TP
.B LLM_CUDA_WGMMA
.B on
uses the matrix products that NVIDIA devices of compute capability 9.0 alone have
.TP
.B NO_COLOR
when it is not empty, no colours or cursor control
.TP
.BR VISUAL ", " EDITOR
what
.B /edit
in the chat opens
.SH EXAMPLES
.EX
llm \-m model.gguf \-p "Once upon a time" \-n 100
cat report.txt | llm \-p "Summarise:" > summary.txt
llm \-\-json\-schema person.json \-p "Invent a person" | jq .name
llm chat \-c
.EE
)";

}  // namespace

std::string man_page(const std::vector<CommandSpec>& commands) {
  const CommandSpec& main = commands.front();
  std::string text = concat(".TH LLM 1 \"", commit_date(), "\" \"llm ", version(), "\"\n",
                            ".nh\n.ad l\n",  // a name must not be broken
                            ".SH NAME\nllm \\- run language models on this machine\n",
                            ".SH SYNOPSIS\n.B llm\n.RI [ OPTION ]...\n");
  for (const CommandSpec& command : commands) {
    text += concat(".br\n.B llm ", roff(command.name), "\n.RI [ OPTION ]...");
    for (const OptionSpec& spec : command.options) {
      if (spec.is_word()) text += concat(" \" \" ", roff(spec.value));
    }
    text += "\n";
  }
  text += concat(kDescription, ".SH OPTIONS\nOf ", bold("llm"), " alone, and ",
                 bold("llm " + main.name), ":\n", main_options(main), ".SS Other\n.TP\n",
                 bold("-h"), ", ", bold("--help"), "\nWhat the command takes.\n.TP\n",
                 bold("--version"), "\nThe version, and what was built.\n.SH COMMANDS\n");
  for (const CommandSpec& command : commands) {
    if (&command != &main) text += command_section(command, main);
  }
  text += concat(kSettings, ".SH EXIT STATUS\n");
  for (const ExitMeaning& row : exit_meanings())
    text += concat(".TP\n.B ", row.status, "\n", roff(row.meaning), "\n");
  return text + std::string(kFiles);
}

}  // namespace lm::cli
