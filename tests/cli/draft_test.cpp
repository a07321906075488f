// --draft, as people use it: other speeds, the same bytes.
#include "engine/core/json.h"
#include "tests/cli/process.h"
#include "tests/reference/tiny_model.h"

using namespace lm;
using namespace lm::test;

namespace {

std::vector<std::string> ask(std::vector<std::string> args) {
  args.insert(args.end(), {"-m", tiny_model_path(), "-p", "One day", "--ignore-eos", "-n", "120",
                           "--seed", "3"});
  return args;
}

}  // namespace

TEST_CASE("draft: whoever drafts, the answer is the same") {
  for (const char* temperature : {"0", "1"}) {
    const std::string plain = run_llm(ask({"--draft", "off", "--temp", temperature})).out;
    CHECK_FALSE(plain.empty());
    CHECK(run_llm(ask({"--temp", temperature})).out == plain);
    for (const std::string& drafter : {std::string("ngram"), tiny_model_path()}) {
      const Finished drafted = run_llm(ask({"--draft", drafter, "--temp", temperature}));
      CHECK(drafted.status == 0);
      CHECK(drafted.err.empty());
      CHECK(drafted.out == plain);
    }
  }
}

TEST_CASE("draft: what was drafted is told") {
  const Json object = require_ok(parse_json(run_llm(ask({"--temp", "0", "--json"})).out));
  CHECK(object["accepted_tokens"].get<int>() <= object["drafted_tokens"].get<int>());
  const Json off = require_ok(parse_json(run_llm(ask({"--json", "--draft", "off"})).out));
  CHECK(off["drafted_tokens"] == 0);
}

TEST_CASE("draft: a model that can't draft is refused in one line") {
  TempDir folder;
  const std::string other = (folder.path() / "other.gguf").string();
  TinyFile file = write_tiny_model(tiny_model("llama"));
  file.writer.set_str("tokenizer.ggml.model", "none");
  require_ok(file.save(other));
  for (const std::string& drafter : {other, std::string("/no/such/model.gguf")}) {
    const Finished refused = run_llm(ask({"--draft", drafter}));
    INFO(refused.err);
    CHECK(refused.status == 3);
    CHECK(is_one_error(refused));
  }
  CHECK(run_llm(ask({"--draft", ""})).status == 2);
}

TEST_CASE("draft: llm bench --speculation measures answers that are the same") {
  const Finished finished = run_llm({"bench", "--speculation", "--shape", "tiny", "--type", "q4_0",
                                     "-n", "24", "-r", "1", "-t", "1", "--json"});
  INFO(finished.err);
  REQUIRE(finished.status == 0);
  const Json found = require_ok(parse_json(finished.out));
  REQUIRE(found["results"].size() == 4);
  for (const Json& result : found["results"]) {
    CHECK(result["plain_tokens_per_second"].get<double>() > 0);
    CHECK(result["drafted_tokens_per_second"].get<double>() > 0);
    CHECK(result["generated_tokens"] == 24);
  }
}
