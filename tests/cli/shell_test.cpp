// What a shell and a system get: completions, tried in the real shells, the manual, build facts.
#include <stdio.h>
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>

#include "tests/cli/process.h"

using namespace lm;
using namespace lm::test;

namespace {

struct Ran {
  int status;
  std::string out;  // and what it wrote on stderr
};

Ran shell(const std::string& command) {
  FILE* const pipe = popen(("{ " + command + "; } </dev/null 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string out;
  char chunk[4096];
  for (size_t n; (n = fread(chunk, 1, sizeof chunk, pipe)) > 0;) out.append(chunk, n);
  const int status = pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, out};
}

bool has_program(const std::string& name) {
  return shell("command -v " + name).status == 0;
}

// A folder with some files in it, and the completions of one shell.
class Workshop {
 public:
  explicit Workshop(const std::string& name) {
    for (const char* file : {"a model.gguf", "notes.txt"})
      std::ofstream(folder_.path() / file) << "x";
    std::filesystem::create_directory(folder_.path() / "inner");
    const Finished made = run_llm({"completions", name});
    REQUIRE(made.status == 0);
    write("llm." + name, made.out);
  }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_.path() / name, std::ios::binary) << text;
  }
  Ran run(const std::string& command) const {
    return shell("cd '" + folder_.path().string() + "' && HOME=$PWD " + command);
  }

 private:
  TempDir folder_;
};

// What bash offers for these words, one a line; the last one is being typed.
std::string bash_offers(const Workshop& workshop, const std::string& words, int current) {
  workshop.write("ask.bash", "source ./llm.bash\nCOMP_WORDS=(" + words +
                                 ")\nCOMP_CWORD=" + std::to_string(current) +
                                 "\n_llm\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n");
  const Ran ran = workshop.run("bash --norc ask.bash");
  CHECK(ran.status == 0);
  return "\n" + ran.out;
}

bool offers(const std::string& offered, const std::string& word) {
  return offered.find("\n" + word + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("completions: bash") {
  if (!has_program("bash")) LM_SKIP("bash is not installed");
  const Workshop workshop("bash");
  const std::string first = bash_offers(workshop, "llm ''", 1);
  for (const char* command : {"run", "chat", "tokenize", "completions", "man"})
    CHECK(offers(first, command));
  const std::string options = bash_offers(workshop, "llm --m", 1);
  CHECK(offers(options, "--max-tokens"));
  CHECK(offers(options, "--min-p"));
  CHECK_FALSE(offers(options, "--messages"));
  CHECK(offers(bash_offers(workshop, "llm render --m", 2), "--messages"));
  CHECK(bash_offers(workshop, "llm --kv ''", 2) == "\nf32\nf16\nq8_0\n");
  CHECK(bash_offers(workshop, "llm run --kv = q", 4) == "\nq8_0\n");
  CHECK(bash_offers(workshop, "llm run --kv =", 3) == "\nf32\nf16\nq8_0\n");
  CHECK(offers(bash_offers(workshop, "llm -q --think ''", 3), "hide"));
  const std::string draft = bash_offers(workshop, "llm --draft ''", 2);
  CHECK(offers(draft, "ngram"));
  CHECK(offers(draft, "a model.gguf"));
  const std::string folders = bash_offers(workshop, "llm convert ''", 2);
  CHECK(offers(folders, "inner"));
  CHECK_FALSE(offers(folders, "notes.txt"));
  CHECK(offers(bash_offers(workshop, "llm inspect n", 2), "notes.txt"));
  CHECK(offers(bash_offers(workshop, "llm export -q notes.txt ''", 4), "inner"));
  CHECK(offers(bash_offers(workshop, "llm completions z", 2), "zsh"));
  CHECK(bash_offers(workshop, "llm -p ''", 2) == "\n\n");  // a text of one's own
  CHECK_FALSE(offers(bash_offers(workshop, "llm tokenize -- --j", 3), "--json"));
}

TEST_CASE("completions: fish") {
  if (!has_program("fish")) LM_SKIP("fish is not installed");
  const Workshop workshop("fish");
  const auto ask = [&](const std::string& line) {
    const Ran ran =
        workshop.run("fish --no-config -c 'source llm.fish; complete -C \"" + line + "\"'");
    CHECK(ran.status == 0);
    return "\n" + ran.out;
  };
  const auto has = [](const std::string& offered, const std::string& word) {
    return offered.find("\n" + word + "\t") != std::string::npos || offers(offered, word);
  };
  const std::string first = ask("llm ");
  CHECK(has(first, "tokenize"));
  CHECK_FALSE(has(first, "notes.txt"));
  CHECK(has(ask("llm --max"), "--max-tokens"));
  CHECK(has(ask("llm render --m"), "--messages"));
  CHECK_FALSE(has(ask("llm run --m"), "--messages"));
  CHECK(has(ask("llm --kv "), "q8_0"));
  CHECK(has(ask("llm run --kv=q"), "--kv=q8_0"));
  CHECK(has(ask("llm --draft "), "ngram"));
  CHECK(has(ask("llm --draft n"), "notes.txt"));
  CHECK(has(ask("llm convert "), "inner/"));
  CHECK(has(ask("llm completions "), "zsh"));
  CHECK_FALSE(has(ask("llm inspect x "), "tokenize"));
}

TEST_CASE("completions: zsh") {
  if (!has_program("zsh")) LM_SKIP("zsh is not installed");
  const Workshop workshop("zsh");
  // A zsh at a terminal: a line is typed up to a tab, and what it became is run.
  workshop.write("ask.zsh", R"(
zmodload zsh/zpty
zpty asked zsh -f
zpty -w asked "PS1= RPS1=; unsetopt zle_bracketed_paste; autoload -U compinit; compinit -D -u; \
bindkey '^I' complete-word; llm() { print -r -- \"ran <\$*>\"; exit }; source ./llm.zsh; print ready"
zpty -r asked line '*ready*ready*'
zpty -w asked "$1"$'\t'
zpty -r asked line '*ran <*>*'
print -r -- "$line"
)");
  const auto becomes = [&](const std::string& line, const std::string& wanted) {
    const Ran ran = workshop.run("timeout 20 zsh -f ask.zsh '" + line + "'");
    INFO(ran.out);
    CHECK(ran.out.find("ran <" + wanted + ">") != std::string::npos);
  };
  becomes("llm insp", "inspect");
  becomes("llm --max", "--max-tokens");
  becomes("llm render --mess", "render --messages");
  becomes("llm run --overflow sh", "run --overflow shift");
  becomes("llm --overflow=sh", "--overflow=shift");
  becomes("llm inspect no", "inspect notes.txt");
  becomes("llm convert in", "convert inner");
  becomes("llm --draft no", "--draft notes.txt");
  becomes("llm completions fi", "completions fish");
}

TEST_CASE("completions: what is refused") {
  for (const std::vector<std::string>& args : {std::vector<std::string>{"completions"},
                                               {"completions", "tcsh"},
                                               {"completions", "bash", "zsh"}}) {
    const Finished finished = run_llm(args);
    CHECK(finished.status == 2);
    CHECK(is_one_error(finished));
  }
}

TEST_CASE("man: every command and option, and nothing that a formatter warns of") {
  const Finished page = run_llm({"man"});
  CHECK(page.status == 0);
  CHECK(page.out.starts_with(".TH LLM 1"));
  for (const char* text : {"\\-\\-max\\-tokens", "$LLM_TOP_K", "llm tokenize", "llm completions",
                           "config.toml", ".SH EXIT STATUS"})
    CHECK(page.out.find(text) != std::string::npos);
  const TempDir folder;
  const std::string path = (folder.path() / "llm.1").string();
  std::ofstream(path) << page.out;
  if (has_program("man")) {
    const Ran ran = shell("LC_ALL=C MANWIDTH=80 man --warnings -l '" + path + "' | cat");
    CHECK(ran.status == 0);
    CHECK(ran.out.find("warning:") == std::string::npos);
    CHECK(ran.out.find("--max-tokens") != std::string::npos);
  }
  if (!has_program("mandoc")) LM_SKIP("mandoc is not installed");
  const Ran lint = shell("mandoc -T lint -W warning '" + path + "'");
  INFO(lint.out);
  CHECK(lint.status == 0);
}

TEST_CASE("--version: what was built") {
  const std::string facts = run_llm({"--version"}).out;
  CHECK(facts.starts_with("llm 0."));
  for (const char* fact :
       {"\ncommit  ", "\ncompiler  ", "\nbuild  ", "\nmachine  ", "\ncpu       scalar", "\ncuda  "})
    CHECK(facts.find(fact) != std::string::npos);
}
