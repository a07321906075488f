// tokenize, logits and devices, as scripts use them.
#include <algorithm>
#include <cmath>
#include <sstream>

#include "engine/core/file.h"
#include "engine/core/json.h"
#include "tests/cli/process.h"

using namespace lm;
using namespace lm::test;

namespace {

std::string out_of(std::vector<std::string> args, Stream in = Stream::null()) {
  const Finished finished = run_llm(std::move(args), std::move(in));
  INFO(finished.err);
  REQUIRE(finished.status == 0);
  return finished.out;
}

void check_refused(std::vector<std::string> args, int status) {
  const Finished finished = run_llm(std::move(args));
  INFO(finished.err);
  CHECK(finished.status == status);
  CHECK(finished.out.empty());
  CHECK(is_one_error(finished));
}

}  // namespace

TEST_CASE("tokenize: ids on one line, and back") {
  const std::string model = tiny_model_path();
  const std::string ids = out_of({"tokenize", "-m", model, "--no-bos", "Hello there, world"});
  CHECK(std::count(ids.begin(), ids.end(), '\n') == 1);
  CHECK(ids.find_first_not_of("0123456789 \n") == std::string::npos);
  CHECK(out_of({"tokenize", "-m", model, "--decode", ids}) == "Hello there, world");
  CHECK(out_of({"tokenize", "-m", model, "--no-bos", "-"}, Stream::bytes("Hello there, world")) ==
        ids);
  CHECK(out_of({"tokenize", "-m", model, "--decode", "-"}, Stream::bytes(ids)) ==
        "Hello there, world");
  const std::string with_bos = out_of({"tokenize", "-m", model, "Hello there, world"});
  CHECK(with_bos.ends_with(" " + ids));
  CHECK(out_of({"tokenize", "-m", model, "--no-bos", ""}) == "\n");
}

TEST_CASE("tokenize: --json") {
  const std::string model = tiny_model_path();
  const Json object =
      require_ok(parse_json(out_of({"tokenize", "-m", model, "--json", "Hello\x80"})));
  REQUIRE(object["tokens"].is_array());
  CHECK(object["tokens"].size() == object["pieces"].size());
  const Json back = require_ok(
      parse_json(out_of({"tokenize", "-m", model, "--json", "--decode", "280 281, 282"})));
  CHECK(back["text"].is_string());
}

TEST_CASE("tokenize: any bytes go there and back through a pipe") {
  Random random(31);
  std::string noise(20'000, '\0');
  for (char& c : noise) c = char(random.below(256));
  const std::string model = tiny_model_path();
  const std::string ids = out_of({"tokenize", "-m", model, "-"}, Stream::bytes(noise));
  CHECK(out_of({"tokenize", "-m", model, "--decode", "-"}, Stream::bytes(ids)) == noise);
}

TEST_CASE("tokenize: control tokens count only with --special") {
  const std::string model = tiny_model_path();
  const std::string as_text = out_of({"tokenize", "-m", model, "--no-bos", "</s>"});
  const std::string parsed = out_of({"tokenize", "-m", model, "--no-bos", "--special", "</s>"});
  CHECK(as_text != parsed);
  CHECK(parsed.size() < as_text.size());
}

TEST_CASE("tokenize: what is refused") {
  const std::string model = tiny_model_path();
  check_refused({"tokenize", "-m", model}, 2);
  check_refused({"tokenize", "x"}, 2);
  for (const char* ids : {"1 two 3", "-1", "99999999", "1.5", "99999999999999999999"}) {
    check_refused({"tokenize", "-m", model, "--decode", "--", ids}, 2);
  }
}

TEST_CASE("tokenize: the reference's ids, line by line") {
  LM_FIXTURE(folder, "tokenizers");
  const std::string name = "ggml-vocab-llama-spm.gguf";
  const std::string inputs = require_ok(read_file(folder / (name + ".inp"), 1 << 20));
  std::istringstream expected(require_ok(read_file(folder / (name + ".out"), 1 << 20)));
  const std::string separator = "\n__ggml_vocab_test__\n";
  int n_texts = 0;
  for (size_t start = 0; start < inputs.size();) {
    const size_t end = std::min(inputs.find(separator, start), inputs.size());
    std::string line;
    if (!std::getline(expected, line)) break;
    line = line.substr(0, line.find_last_not_of(' ') + 1);
    if (line.starts_with(' ')) line.erase(0, 1);
    CHECK(out_of({"tokenize", "-m", (folder / name).string(), "--no-bos", "-"},
                 Stream::bytes(inputs.substr(start, end - start))) == line + "\n");
    start = end + separator.size();
    ++n_texts;
  }
  CHECK(n_texts > 30);
}

TEST_CASE("logits: a row of the vocabulary after every position, whatever the rest") {
  const std::string model = tiny_model_path();
  const Json three = require_ok(parse_json(out_of({"logits", "-m", model, "--ids", "1 20 30"})));
  const Json two = require_ok(parse_json(out_of({"logits", "-m", model, "--ids", "1,20"})));
  REQUIRE(three["logits"].size() == 3);
  CHECK(three["logits"][0].size() > 100);
  CHECK(three["logits"][0] == two["logits"][0]);
  CHECK(three["logits"][1] == two["logits"][1]);
  std::string many;
  for (int i = 0; i < 150; ++i) many += "5 ";
  CHECK(require_ok(parse_json(out_of({"logits", "-m", model, "--ids", many})))["logits"].size() ==
        150);
}

TEST_CASE("logits: what is refused") {
  const std::string model = tiny_model_path();
  check_refused({"logits", "-m", model}, 2);
  check_refused({"logits", "-m", model, "--ids", ""}, 2);
  check_refused({"logits", "-m", model, "--ids", "1 x"}, 2);
  check_refused({"logits", "-m", model, "--ids", "-1"}, 2);
  check_refused({"logits", "-m", model, "--ids", "1 99999999"}, 2);
  check_refused({"logits", "-m", model, "--ids", "1 2 3 4", "--ctx", "3"}, 5);
}

TEST_CASE("logits: within 1e-4 of the reference") {
  LM_FIXTURE(model, "logits/tiny_llama_f32.gguf");
  LM_FIXTURE(reference, "logits/tiny_llama_logits.json");
  const Json expected = require_ok(parse_json(require_ok(read_file(reference, 64u << 20))));
  double worst = 0;
  for (size_t s = 0; s < expected["sequences"].size(); ++s) {
    std::string ids;
    for (const Json& id : expected["sequences"][s]) ids += std::to_string(id.get<int>()) + " ";
    const Json found =
        require_ok(parse_json(out_of({"logits", "-m", model.string(), "--ids", ids})));
    REQUIRE(found["logits"].size() == expected["logits"][s].size());
    for (size_t at = 0; at < found["logits"].size(); ++at) {
      const Json& mine = found["logits"][at];
      const Json& theirs = expected["logits"][s][at];
      double difference = 0, largest = 0;
      for (size_t i = 0; i < theirs.size(); ++i) {
        difference =
            std::max(difference, std::abs(mine[i].get<double>() - theirs[i].get<double>()));
        largest = std::max(largest, std::abs(theirs[i].get<double>()));
      }
      worst = std::max(worst, difference / largest);
    }
  }
  CHECK(worst <= 1e-4);
}

TEST_CASE("devices: the processor can always compute") {
  const Json list = require_ok(parse_json(out_of({"devices", "--json"})));
  const auto cpu =
      std::find_if(list.begin(), list.end(), [](const Json& d) { return d["name"] == "cpu"; });
  REQUIRE(cpu != list.end());
  CHECK((*cpu)["usable"] == true);
  CHECK((*cpu)["memory_bytes"].get<uint64_t>() > 0);
  for (const char* limit : {"read_gbps", "int8_gops", "f32_gflops"}) {
    CHECK((*cpu)["limits"][limit].get<double>() > 0);
  }
  CHECK(out_of({"devices"}).find("cpu") != std::string::npos);
}
