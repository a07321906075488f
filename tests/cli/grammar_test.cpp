// --grammar and --json-schema through the real program.
#include <fstream>

#include "engine/core/json.h"
#include "tests/cli/process.h"

namespace lm::test {
namespace {

struct Files {
  TempDir folder;
  std::string operator()(std::string_view name, std::string_view text) const {
    const std::filesystem::path path = folder.path() / name;
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }
};

Finished ask(std::vector<std::string> args) {
  args.insert(args.end(), {"-m", tiny_model_path(), "-p", "x", "--raw", "--seed", "5"});
  return run_llm(std::move(args));
}

TEST_CASE("grammar: the answer follows it, and ends with it") {
  const Files file;
  const std::string digits = file("digits.gbnf", "root ::= \"<\" [0-9]{3} \">\"\n");
  for (const char* temperature : {"0", "1", "2"}) {
    const Finished run = ask({"--grammar", digits, "--temp", temperature});
    CHECK(run.status == 0);
    REQUIRE(run.out.size() == 5);
    CHECK((run.out[0] == '<' && run.out[4] == '>'));
    CHECK(run.out.find_first_not_of("0123456789", 1) == 4);
  }
}

TEST_CASE("json schema: the answer is JSON, a limit that cuts it is reported") {
  const Files file;
  const std::string schema = file(
      "s.json",
      R"({"type":"object","properties":{"n":{"type":"integer","minimum":1,"maximum":9},"ok":{"type":"boolean"}},"required":["n","ok"]})");
  const Finished run = ask({"--json-schema", schema});
  CHECK(run.status == 0);
  const Json value = require_ok(parse_json(run.out));
  CHECK(value["n"].get<int>() >= 1);
  CHECK(value["ok"].is_boolean());
  const Finished cut = ask({"--json-schema", schema, "-n", "3", "--json"});
  CHECK(cut.status == 0);
  CHECK(require_ok(parse_json(cut.out))["finish"] == "length");
  const Finished whole = ask({"--json-schema", schema, "--json"});
  CHECK(require_ok(parse_json(whole.out))["finish"] == "stop");
}

TEST_CASE("grammar and schema: mistakes are found before anything is generated") {
  const Files file;
  const auto status = [](std::vector<std::string> args, std::string_view says) {
    const Finished run = ask(std::move(args));
    INFO(run.err);
    CHECK(run.out.empty());
    CHECK(is_one_error(run));
    CHECK(run.err.find(says) != std::string::npos);
    return run.status;
  };
  const std::string good = file("good.gbnf", "root ::= \"a\"");
  const std::string schema = file("good.json", "true");
  CHECK(status({"--grammar", good, "--json-schema", schema}, "either --grammar") == 2);
  CHECK(status({"--grammar", good, "--ignore-eos"}, "--ignore-eos") == 2);
  CHECK(status({"--grammar", "no/such.gbnf"}, "no/such.gbnf") == 3);
  CHECK(status({"--grammar", file("bad.gbnf", "root ::= \"a")}, "bad.gbnf: expected") == 3);
  CHECK(status({"--grammar", file("empty.gbnf", "root ::= []")}, "some text satisfies") == 3);
  CHECK(status({"--json-schema", file("bad.json", "{")}, "bad.json: expected JSON") == 3);
  CHECK(status({"--json-schema", file("not.json", R"({"not":{}})")}, "found \"not\"") == 3);
  CHECK(status({"--json-schema", file("none.json", "false")}, "some text satisfies") == 3);
}

}  // namespace
}  // namespace lm::test
