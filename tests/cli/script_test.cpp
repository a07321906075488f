// The program inside real shell scripts: pipelines, loops, substitutions.
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "tests/cli/process.h"

namespace lm::test {
namespace {

struct Ran {
  int status;
  std::string out;  // with stderr, where the script says 2>&1
};

// $llm is the program with a small model and a short answer.
Ran shell(const std::string& script) {
  const TempDir folder;
  const std::string path = write_file(folder, "script",
                                      "set -u\nllm=\"" LLM_BINARY " -m " + tiny_model_path() +
                                          " -n 6 --seed 7 --ignore-eos\"\n" + script);
  FILE* pipe = popen(("cd '" + folder.path().string() + "' && exec bash " + path).c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string out;
  char chunk[4096];
  for (size_t n = 0; (n = fread(chunk, 1, sizeof chunk, pipe)) > 0;) out.append(chunk, n);
  const int status = pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, out};
}

TEST_CASE("script: a while-read loop keeps its lines with --no-stdin") {
  const Ran with = shell(
      "printf 'a\\nb\\nc\\n' | while read -r line; do "
      "$llm -p \"$line\" --no-stdin >/dev/null; echo \"$line\"; done");
  CHECK(with.out == "a\nb\nc\n");
  const Ran without = shell(
      "printf 'a\\nb\\nc\\n' | while read -r line; do "
      "$llm -p \"$line\" >/dev/null; echo \"$line\"; done");
  CHECK(without.out == "a\n");  // stdin is a pipe, so it was part of the first prompt
}

TEST_CASE("script: in a pipeline the status is that of each part") {
  CHECK(shell("$llm -p x | cat >/dev/null; echo ${PIPESTATUS[0]}").out == "0\n");
  CHECK(shell("$llm -p x -n 900 --jsonl 2>&1 | head -c 20 >/dev/null; echo ${PIPESTATUS[0]}").out ==
        "141\n");
  CHECK(shell("echo hi | $llm -p Say: | wc -c").out != "0\n");
  CHECK(shell("yes | $llm -p Say: 2>/dev/null; echo ${PIPESTATUS[1]}").out == "5\n");
  CHECK(shell("set -o pipefail; false | $llm -p x >/dev/null; echo $?").out == "1\n");
}

TEST_CASE("script: substitution, redirection and here-documents") {
  CHECK(shell("a=$($llm -p 'One day'); b=$($llm <<< 'One day'); test \"$a\" = \"$b\"").status == 0);
  CHECK(shell("$llm -p 'One day' > a; $llm <<'END' > b\nOne day\nEND\ncmp a b").status == 0);
  CHECK(shell("echo 'One day' > p; $llm < p > a; $llm -f p > b; cmp a b").status == 0);
  CHECK(shell("$llm -f <(echo 'One day') > a; $llm -p 'One day' > b; cmp a b").status == 0);
  CHECK(shell("$llm -p x 2>&1 >/dev/null").out.empty());
}

TEST_CASE("script: conditions, background jobs, xargs") {
  CHECK(shell("if $llm -m /no/such -p x 2>/dev/null; then echo yes; else echo $?; fi").out ==
        "3\n");
  CHECK(shell("$llm -p x > a & $llm -p x > b & wait; cmp a b").status == 0);
  CHECK(shell("printf 'a\\0b\\0' | xargs -0 -n 1 $llm --no-stdin -p | wc -c").out != "0\n");
  CHECK(shell("timeout -s INT 5 $llm -p x -n 900 > /dev/null; echo $?").out == "0\n");
}

}  // namespace
}  // namespace lm::test
