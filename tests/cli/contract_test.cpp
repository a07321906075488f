// The pipe contract, case by case: what goes in, the status that comes out, and what may be on
// stdout and stderr. Each case runs the real binary once. What needs more than one run or a
// conversation with the program is in prompt_test, output_test, signals_test, batch_test and
// chat_test.
#include <functional>
#include <set>

#include "engine/core/utf8.h"
#include "tests/cli/process.h"

namespace lm::test {
namespace {

using Check = std::function<bool(const Finished&)>;

struct Case {
  std::string name;
  std::vector<std::string> args;
  Stream in = Stream::null();
  int status = 0;
  Check check = [](const Finished&) { return true; };
  std::vector<std::string> env{};
  Stream out = Stream::pipe(), err = Stream::pipe();
};

// Of stdout, stderr, or both.
bool silent(const Finished& f) {
  return f.err.empty();
}
bool answers(const Finished& f) {
  return silent(f) && !f.out.empty() && utf8::is_valid(f.out) &&
         f.out.find('\x1b') == std::string::npos;
}
bool nothing(const Finished& f) {
  return f.out.empty() && f.err.empty();
}
bool refuses(const Finished& f) {  // one line says why, and stdout has nothing
  return f.out.empty() && is_one_error(f);
}
Check refuses_with(const std::string& text) {
  return [text](const Finished& f) { return refuses(f) && f.err.find(text) != std::string::npos; };
}
Check warns_of(const std::string& text) {
  return [text](const Finished& f) {
    return !f.out.empty() && f.err.starts_with("llm: warning: ") &&
           f.err.find(text) != std::string::npos;
  };
}
Check prints(const std::string& text) {
  return [text](const Finished& f) { return silent(f) && f.out.find(text) != std::string::npos; };
}
bool no_escapes(const Finished& f) {
  return !f.out.empty() && f.out.find('\x1b') == std::string::npos &&
         f.err.find('\x1b') == std::string::npos;
}

// Arguments that make a short answer, always the same one.
std::vector<std::string> ask(std::vector<std::string> args) {
  args.insert(args.begin(), {"-m", tiny_model_path(), "-n", "6", "--seed", "7", "--ignore-eos"});
  return args;
}

// The same answer as that prompt has after -p.
Check same_as(const std::string& prompt) {
  return [prompt](const Finished& f) {
    return answers(f) && f.out == run_llm(ask({"-p", prompt})).out;
  };
}

const TempDir& folder() {
  static const TempDir folder;
  return folder;
}
std::string file(const std::string& name, std::string_view text) {
  return write_file(folder(), name, text);
}

std::string repeated(std::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

std::vector<Case> prompts() {
  const std::string f = file("prompt", "One day\n");
  return {
      {"-p TEXT", ask({"-p", "One day"}), Stream::null(), 0, answers},
      {"--prompt TEXT", ask({"--prompt", "One day"}), Stream::null(), 0, same_as("One day")},
      {"--prompt=TEXT", ask({"--prompt=One day"}), Stream::null(), 0, same_as("One day")},
      {"run -p TEXT",
       {"run", "-p", "One day", "-m", tiny_model_path(), "-n", "6", "--seed", "7", "--ignore-eos"},
       Stream::null(),
       0,
       same_as("One day")},
      {"-p - reads a pipe", ask({"-p", "-"}), Stream::bytes("One day\n"), 0, same_as("One day")},
      {"-p - reads a file", ask({"-p", "-"}), Stream::path(f), 0, same_as("One day")},
      {"-f FILE", ask({"-f", f}), Stream::null(), 0, same_as("One day")},
      {"-f - reads a pipe", ask({"-f", "-"}), Stream::bytes("One day"), 0, same_as("One day")},
      {"a pipe alone", ask({}), Stream::bytes("One day\n"), 0, same_as("One day")},
      {"a file alone", ask({}), Stream::path(f), 0, same_as("One day")},
      {"a line that Windows ended", ask({}), Stream::bytes("One day\r\n"), 0, same_as("One day")},
      {"no newline at the end", ask({}), Stream::bytes("One day"), 0, same_as("One day")},
      {"one newline of two is text", ask({}), Stream::bytes("a\n\n"), 0, same_as("a\n")},
      {"-p and a pipe", ask({"-p", "Say:"}), Stream::bytes("it\n"), 0, same_as("Say:\n\nit")},
      {"-p and a file on stdin", ask({"-p", "Say:"}), Stream::path(f), 0,
       same_as("Say:\n\nOne day")},
      {"-p and -f", ask({"-p", "Say:", "-f", f}), Stream::null(), 0, same_as("Say:\n\nOne day")},
      {"-p, -f and a pipe", ask({"-p", "Say:", "-f", f}), Stream::bytes("it"), 0,
       same_as("Say:\n\nOne day\n\nit")},
      {"-p and -f -", ask({"-p", "Say:", "-f", "-"}), Stream::bytes("it"), 0,
       same_as("Say:\n\nit")},
      {"-p and an empty pipe", ask({"-p", "Say:"}), Stream::bytes(""), 0, same_as("Say:")},
      {"-p and /dev/null", ask({"-p", "Say:"}), Stream::null(), 0, same_as("Say:")},
      {"-p and a closed stdin", ask({"-p", "Say:"}), Stream::closed(), 0, same_as("Say:")},
      {"--no-stdin with a pipe", ask({"-p", "Say:", "--no-stdin"}), Stream::bytes("it"), 0,
       same_as("Say:")},
      {"--no-stdin with a silent pipe", ask({"-p", "Say:", "--no-stdin"}), Stream::held_pipe(), 0,
       same_as("Say:")},
      {"an empty -p", ask({"-p", ""}), Stream::null(), 0, answers},
      {"an empty -f file", ask({"-f", file("empty", "")}), Stream::null(), 0, same_as("")},
      {"-p that looks like an option", ask({"-p", "--json"}), Stream::null(), 0, same_as("--json")},
      {"-p that is a number below 0", ask({"-p", "-5"}), Stream::null(), 0, answers},
      {"-p that is two dashes", ask({"-p", "--"}), Stream::null(), 0, answers},
      {"nothing after --", ask({"-p", "One day", "--"}), Stream::null(), 0, same_as("One day")},
      {"the last -p counts", ask({"-p", "not this", "-p", "One day"}), Stream::null(), 0,
       same_as("One day")},
      {"white space is text", ask({"-p", " \t\n "}), Stream::null(), 0, answers},
      {"-m from the environment",
       {"-p", "One day", "-n", "6", "--seed", "7", "--ignore-eos"},
       Stream::null(),
       0,
       same_as("One day"),
       {"LLM_MODEL=" + tiny_model_path()}},
      {"a prompt of 900 tokens", ask({"-f", file("long", repeated("a ", 450))}), Stream::null(), 0,
       answers},
  };
}

std::vector<Case> bytes() {
  std::string all;
  for (int i = 0; i < 256; ++i) all += char(i);
  std::vector<Case> cases;
  const std::vector<std::pair<const char*, std::string>> inputs{
      {"all bytes", all},
      {"zero bytes", std::string(50, '\0')},
      {"bytes that no text has", "\xff\xfe\xc0\xc1"},
      {"a character cut short", "a\xe2\x82"},
      {"a surrogate", "\xed\xa0\x80"},
      {"beyond Unicode", "\xf4\x90\x80\x80"},
      {"overlong", "\xc0\xaf"},
      {"a byte order mark", "\xef\xbb\xbfhello"},
      {"escape sequences", "\x1b[31mred\x1b[0m \x07"},
      {"emoji and joiners", "👩‍👩‍👧 e\xcc\x81 漢字"},
      {"control tokens in the text", "</s><s><unk>"},
  };
  for (const auto& [name, text] : inputs) {
    cases.push_back(
        {std::string(name) + " through a pipe", ask({}), Stream::bytes(text), 0, answers});
  }
  cases.push_back(
      {"bytes that no text has, after -p", ask({"-p", "\xff\xc0"}), Stream::null(), 0, answers});
  cases.push_back({"an ELF file", ask({"--ctx", "64"}), Stream::path("/bin/true"), 5, refuses});
  return cases;
}

std::vector<Case> refusals() {
  const std::string model = tiny_model_path();
  const std::string bad = file("bad.gguf", "GGUF but not really");
  return {
      // 2: the command line
      {"no prompt, no terminal", {"-m", model}, Stream::null(), 2, refuses_with("prompt")},
      {"an empty pipe alone", {"-m", model}, Stream::bytes(""), 2, refuses_with("prompt")},
      {"an empty -p -", {"-m", model, "-p", "-"}, Stream::bytes(""), 2, refuses_with("prompt")},
      {"closed stdin alone", {"-m", model}, Stream::closed(), 2, refuses},
      {"--no-stdin alone", {"-m", model, "--no-stdin"}, Stream::bytes("x"), 2, refuses},
      {"-p - and --no-stdin",
       {"-m", model, "-p", "-", "--no-stdin"},
       Stream::bytes("x"),
       2,
       refuses},
      {"no model", {"-p", "x"}, Stream::null(), 2, refuses_with("model")},
      {"an unknown command", {"frobnicate"}, Stream::null(), 2, refuses_with("frobnicate")},
      {"an unknown option", ask({"-p", "x", "--frob"}), Stream::null(), 2, refuses_with("--frob")},
      {"a word too many", ask({"-p", "x", "word"}), Stream::null(), 2, refuses_with("word")},
      {"a word after --", ask({"-p", "x", "--", "word"}), Stream::null(), 2, refuses_with("word")},
      {"an option after --", ask({"-p", "x", "--", "--json"}), Stream::null(), 2, refuses},
      {"-p without a value", {"-m", model, "-p"}, Stream::null(), 2, refuses_with("value")},
      {"-n that is no number", ask({"-p", "x", "-n", "many"}), Stream::null(), 2,
       refuses_with("many")},
      {"-n with rest", ask({"-p", "x", "-n", "5x"}), Stream::null(), 2, refuses_with("5x")},
      {"-n beyond any number", ask({"-p", "x", "-n", "99999999999999999999"}), Stream::null(), 2,
       refuses},
      {"--temp below 0", ask({"-p", "x", "--temp", "-1"}), Stream::null(), 2, refuses},
      {"--temp that is none", ask({"-p", "x", "--temp", "nan"}), Stream::null(), 2, refuses},
      {"--top-p above 1", ask({"-p", "x", "--top-p", "1.1"}), Stream::null(), 2, refuses},
      {"an empty --stop", ask({"-p", "x", "--stop", ""}), Stream::null(), 2, refuses},
      {"--json and --jsonl", ask({"-p", "x", "--json", "--jsonl"}), Stream::null(), 2, refuses},
      {"--grammar and --ignore-eos", ask({"-p", "x", "--grammar", "x"}), Stream::null(), 2,
       refuses},
      {"a device that is not there", ask({"-p", "x", "--device", "cuda:99"}), Stream::null(), 2,
       refuses},
      {"control characters in what is wrong", {"\x1b[31m"}, Stream::null(), 2, refuses},
      {"chat without a terminal",
       {"chat", "-m", model},
       Stream::null(),
       2,
       refuses_with("terminal")},
      // 3: a model or another input file
      {"a model that is not there",
       {"-m", "/no/such", "-p", "x"},
       Stream::null(),
       3,
       refuses_with("/no/such")},
      {"a model that is a folder", {"-m", "/tmp", "-p", "x"}, Stream::null(), 3, refuses},
      {"a model that is a device", {"-m", "/dev/null", "-p", "x"}, Stream::null(), 3, refuses},
      {"a model that is something else", {"-m", bad, "-p", "x"}, Stream::null(), 3, refuses},
      {"an empty model", {"-m", file("none.gguf", ""), "-p", "x"}, Stream::null(), 3, refuses},
      {"a prompt file that is not there", ask({"-f", "/no/such"}), Stream::null(), 3,
       refuses_with("/no/such")},
      {"a prompt file that is a folder", ask({"-f", "/tmp"}), Stream::null(), 3, refuses},
      {"stdin that is a folder", ask({}), Stream::path("/tmp"), 3, refuses},
      {"a grammar that is not there",
       {"-m", model, "-p", "x", "--grammar", "/no/such"},
       Stream::null(),
       3,
       refuses},
      {"a schema that is none",
       {"-m", model, "-p", "x", "--json-schema", file("s.json", "{")},
       Stream::null(),
       3,
       refuses_with("s.json")},
      {"tools for a model without a template", ask({"-p", "x", "--tools", file("t.json", "[]")}),
       Stream::null(), 2, refuses},
      // 4: memory
      {"a context beyond memory",
       {"-m", long_model_path(), "-p", "x", "--ctx", "16777216", "--kv-budget", "1"},
       Stream::null(),
       4,
       refuses},
      // 5: the prompt does not fit
      {"a prompt longer than the context", ask({"-p", repeated("and on ", 3000)}), Stream::null(),
       5, refuses},
      {"a prompt longer than --ctx", ask({"--ctx", "16"}), Stream::bytes(repeated("and on ", 30)),
       5, refuses},
      {"stdin without end", ask({}), Stream::path("/dev/zero"), 5, refuses},
  };
}

std::vector<Case> outputs() {
  const Stream terminal = Stream::terminal();
  const Stream full = Stream::path("/dev/full");
  const auto ends_line = [](const Finished& f) { return no_escapes(f) && f.out.ends_with('\n'); };
  std::vector<Case> cases{
      {"--help", {"--help"}, Stream::null(), 0, prints("Exit status")},
      {"-h beside anything", ask({"-p", "x", "-h"}), Stream::null(), 0, prints("Usage: llm")},
      {"help of a command",
       {"tokenize", "--help"},
       Stream::null(),
       0,
       prints("Usage: llm tokenize")},
      {"--version", {"--version"}, Stream::null(), 0, prints("llm ")},
      {"-n 0", ask({"-p", "x", "-n", "0"}), Stream::null(), 0, nothing},
      {"--stats speaks on stderr", ask({"-p", "x", "--stats"}), Stream::null(), 0,
       [](const Finished& f) {
         return !f.out.empty() && f.err.starts_with("llm: ") && f.err.ends_with("\n");
       }},
      {"-v speaks on stderr", ask({"-p", "x", "-v"}), Stream::null(), 0,
       [](const Finished& f) { return f.err.find("context") != std::string::npos; }},
      {"a warning", ask({"-p", "x", "-s", "brief"}), Stream::null(), 0, warns_of("-s")},
      {"-q: no warning", ask({"-p", "x", "-s", "brief", "-q"}), Stream::null(), 0, answers},
      {"a shifted context is told",
       ask({"-p", "x", "-n", "60", "--ctx", "32", "--overflow", "shift"}), Stream::null(), 0,
       warns_of("forgotten")},
      {"stdout is a full disk",
       ask({"-p", "x"}),
       Stream::null(),
       1,
       refuses_with("No space left"),
       {},
       full},
      {"--json onto a full disk", ask({"-p", "x", "--json"}), Stream::null(), 1, refuses, {}, full},
      {"--jsonl onto a full disk",
       ask({"-p", "x", "--jsonl"}),
       Stream::null(),
       1,
       refuses,
       {},
       full},
      {"--help onto a full disk", {"--help"}, Stream::null(), 1, refuses, {}, full},
      {"stdout is closed", ask({"-p", "x"}), Stream::null(), 1, refuses, {}, Stream::closed()},
      {"nobody reads", ask({"-p", "x"}), Stream::null(), 141, nothing, {}, Stream::broken_pipe()},
      {"nobody reads --json",
       ask({"-p", "x", "--json"}),
       Stream::null(),
       141,
       nothing,
       {},
       Stream::broken_pipe()},
      {"nobody reads --jsonl",
       ask({"-p", "x", "--jsonl"}),
       Stream::null(),
       141,
       nothing,
       {},
       Stream::broken_pipe()},
      {"nobody reads --help", {"--help"}, Stream::null(), 141, nothing, {}, Stream::broken_pipe()},
      {"stderr is closed",
       ask({"-p", "x", "--stats"}),
       Stream::null(),
       0,
       answers,
       {},
       Stream::pipe(),
       Stream::closed()},
      {"stderr is a full disk",
       ask({"-p", "x", "--stats"}),
       Stream::null(),
       0,
       answers,
       {},
       Stream::pipe(),
       full},
      {"nobody reads stderr",
       ask({"-p", "x", "--stats"}),
       Stream::null(),
       0,
       answers,
       {},
       Stream::pipe(),
       Stream::broken_pipe()},
      {"an error that nobody reads",
       {"-m", "/no/such", "-p", "x"},
       Stream::null(),
       3,
       nothing,
       {},
       Stream::pipe(),
       Stream::broken_pipe()},
      {"stdout is a terminal",
       ask({"-p", "x"}),
       Stream::null(),
       0,
       ends_line,
       {},
       terminal,
       terminal},
      {"a terminal under NO_COLOR",
       ask({"-p", "x"}),
       Stream::null(),
       0,
       ends_line,
       {"NO_COLOR=1"},
       terminal,
       terminal},
      {"a dumb terminal",
       ask({"-p", "x"}),
       Stream::null(),
       0,
       ends_line,
       {"TERM=dumb"},
       terminal,
       terminal},
      {"no TERM at all",
       ask({"-p", "x"}),
       Stream::null(),
       0,
       ends_line,
       {"TERM="},
       terminal,
       terminal},
      {"stderr alone is a terminal",
       ask({"-p", "One day"}),
       Stream::null(),
       0,
       same_as("One day"),
       {},
       Stream::pipe(),
       terminal},
      {"a locale that is not there",
       ask({"-p", "One day"}),
       Stream::null(),
       0,
       same_as("One day"),
       {"LC_ALL=xx_YY"}},
      {"decimal commas",
       ask({"-p", "One day", "--temp", "0.8"}),
       Stream::null(),
       0,
       same_as("One day"),
       {"LC_ALL=de_DE.UTF-8"}},
      {"no HOME", ask({"-p", "One day"}), Stream::null(), 0, same_as("One day"), {"HOME="}},
      {"one thread or more", ask({"-p", "One day", "-t", "3"}), Stream::null(), 0,
       same_as("One day")},
      {"without drafts", ask({"-p", "One day", "--draft", "off"}), Stream::null(), 0,
       same_as("One day")},
      {"the scalar code", ask({"-p", "One day"}), Stream::null(), 0, answers, {"LLM_CPU=scalar"}},
      {"code that is not there",
       ask({"-p", "One day"}),
       Stream::null(),
       2,
       refuses,
       {"LLM_CPU=z80"}},
  };
  return cases;
}

void run(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    INFO(c.name);
    Setup setup;
    setup.args = c.args;
    setup.in = c.in;
    setup.out = c.out;
    setup.err = c.err;
    setup.env = c.env;
    const Finished finished = run_llm(std::move(setup));
    INFO("stdout: " << finished.out.substr(0, 300) << "\nstderr: " << finished.err.substr(0, 600));
    CHECK(finished.status == c.status);
    CHECK(c.check(finished));
  }
}

TEST_CASE("contract: where the prompt comes from") {
  run(prompts());
}
TEST_CASE("contract: any bytes go in, whole characters come out") {
  run(bytes());
}
TEST_CASE("contract: what is refused, and with which status") {
  run(refusals());
}
TEST_CASE("contract: what leaves the program, and where it can't") {
  run(outputs());
}
TEST_CASE("contract: at least 80 different cases") {
  std::set<std::string> names;
  size_t n = 0;
  for (const std::vector<Case>& cases : {prompts(), bytes(), refusals(), outputs()}) {
    n += cases.size();
    for (const Case& c : cases) names.insert(c.name);
  }
  CHECK(names.size() == n);
  CHECK(n >= 80);
}

}  // namespace
}  // namespace lm::test
