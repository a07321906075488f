// Trained models that know nothing of JSON, held to schemas at every temperature: what they write
// parses and satisfies the schema, unless the token limit ended it, and that is reported.
#include <cstdlib>
#include <fstream>

#include "engine/core/json.h"
#include "engine/runtime/grammar_request.h"
#include "tests/grammar/schemas.h"
#include "tests/grammar/validator.h"
#include "tests/runtime/support.h"

namespace lm::test {
namespace {

constexpr int kMaxTokens = 300;

std::unique_ptr<Engine> start_engine(const std::filesystem::path& model,
                                     SpeculationOptions drafts) {
  InstanceOptions options = options_for(model);
  options.n_ctx = 500;
  options.kv_dtype = DType::f16;
  options.draft_rows = drafts.drafter ? 8 : 0;
  return Engine::start(open(options), {.speculation = std::move(drafts)});
}

Request request_for(const Engine& engine,
                    const std::shared_ptr<const grammar::TokenGrammar>& grammar, uint64_t seed) {
  const Tokenizer& tokenizer = *engine.instance().tokenizer();
  Request request;
  request.prompt.push_back(tokenizer.bos());
  if (seed % 2 == 1) {
    tokenizer.encode("Once upon a time", Tokenizer::Special::as_text, request.prompt);
  }
  request.filter = make_grammar_filter(grammar, tokenizer, request.prompt);
  request.max_tokens = kMaxTokens;
  request.sampling.seed = seed;
  constexpr float kTemperatures[] = {0.0f, 0.8f, 2.0f, 1.2f};
  request.sampling.temperature = kTemperatures[seed % 4];
  return request;
}

struct Tally {
  int finished = 0, cut = 0, unspellable = 0;
};

// Runs every schema with several seeds; what finished is also appended to `record`.
Tally check_schemas(const std::filesystem::path& model, uint64_t n_seeds, std::ostream& record) {
  Tally tally;
  const auto engine = start_engine(model, {});
  const auto drafting = start_engine(model, {.drafter = make_ngram_drafter(), .fixed_length = 4});
  const auto vocabulary = grammar_vocabulary(*engine->instance().tokenizer());
  for (const std::string_view source : kSchemas) {
    INFO(source);
    const AnswerGrammar answer_grammar = require_ok(AnswerGrammar::from_json_schema(source));
    const auto bound = answer_grammar.bind(vocabulary);
    if (!bound.ok()) {
      CHECK(bound.error().message.find("vocabulary can spell") != std::string::npos);
      ++tally.unspellable;
      continue;
    }
    const Json schema = require_ok(parse_json(source));
    for (uint64_t seed = 0; seed < n_seeds; ++seed) {
      const Answer answer = run(*engine, request_for(*engine, bound.value(), seed));
      INFO(seed, " ", answer.error, " ", answer.text);
      const Answer drafted = run(*drafting, request_for(*drafting, bound.value(), seed));
      CHECK(drafted.text == answer.text);
      if (answer.finish == Finish::length) {
        CHECK(answer.tokens.size() == kMaxTokens);
        ++tally.cut;
        continue;
      }
      REQUIRE(answer.finish == Finish::stop);
      ++tally.finished;
      const Json value = require_ok(parse_json(answer.text));
      CHECK(Validator(schema).valid(value));
      record << dump_json(Json{{"schema", schema}, {"text", answer.text}}) << '\n';
    }
  }
  return tally;
}

TEST_CASE("structured output: trained models write what every schema asks for") {
  LM_FIXTURE(stories, "models/stories260K/stories260K.gguf");
  LM_FIXTURE(tiny_stories, "models/TinyStories-656K/TinyStories-656K-Q8_0.gguf");
  const TempDir folder;
  const std::filesystem::path path = folder.path() / "answers.jsonl";
  {
    std::ofstream record(path);
    const Tally bytes = check_schemas(stories, 4, record);
    CHECK(bytes.unspellable == 0);
    CHECK(bytes.finished > 8 * bytes.cut);
    // A vocabulary without brackets, backslashes or bytes.
    const Tally words = check_schemas(tiny_stories, 2, record);
    CHECK(words.unspellable > 20);
    CHECK(words.finished > 40);
    MESSAGE("finished ", bytes.finished + words.finished, ", cut ", bytes.cut + words.cut);
  }
  // The validator of Debian's python3-jsonschema, where it is installed.
  if (std::system("python3 -c 'import jsonschema' 2>/dev/null") != 0) {
    LM_SKIP("no python3-jsonschema: the answers were only checked by our own validator");
  }
  const std::string script =
      "import json, sys, jsonschema\n"
      "for line in open(sys.argv[1]):\n"
      "    case = json.loads(line)\n"
      "    jsonschema.Draft202012Validator(case['schema'],\n"
      "        "
      "format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER).validate(json.loads(case['"
      "text']))\n";
  std::ofstream(folder.path() / "check.py") << script;
  const std::string command =
      "python3 " + (folder.path() / "check.py").string() + " " + path.string();
  CHECK(std::system(command.c_str()) == 0);
}

}  // namespace
}  // namespace lm::test
