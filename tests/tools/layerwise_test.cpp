// GPTQ and AWQ layer by layer, on every family: folded scales change nothing, a run that was
// stopped goes on to the same bytes, and damaged input ends in one sentence.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/core/file.h"
#include "engine/tools/group_rounding.h"
#include "gguf/file.h"
#include "tests/reference/reference_decoder.h"
#include "tests/tools/layerwise_rig.h"

namespace fs = std::filesystem;

namespace lm::test {
namespace {

// Every tensor is near what it was.
void check_weights(const gguf::File& before, const gguf::File& after) {
  for (const gguf::TensorInfo& tensor : before.tensors()) {
    CAPTURE(tensor.name);
    REQUIRE(after.tensor(tensor.name) != nullptr);
    const std::vector<float> from = numbers_of(tensor), to = numbers_of(*after.tensor(tensor.name));
    REQUIRE(from.size() == to.size());
    double squares = 0, total = 0;
    for (size_t i = 0; i < from.size(); ++i) {
      squares += (double(from[i]) - to[i]) * (double(from[i]) - to[i]);
      total += double(from[i]) * from[i];
    }
    CHECK(squares <= 0.03 * 0.03 * total);
  }
}

TEST_CASE("layerwise: every family stays the model that it was") {
  for (const TinyModel& tiny : tiny_models()) {
    CAPTURE(tiny.name);
    const LayerwiseRig setup(tiny);
    const gguf::File before = require_ok(gguf::File::open(setup.in));
    const ReferenceDecoder original(before);
    std::vector<TokenId> tokens;
    Random random(5);
    for (int i = 0; i < 12; ++i)
      tokens.push_back(TokenId(random.below(uint64_t(original.n_vocab()))));
    const std::vector<Vec> expected = original.logits(tokens);
    for (const LayerMethod method : {LayerMethod::gptq, LayerMethod::awq}) {
      CAPTURE(int(method));
      require_ok(setup.run(setup.method(method)));
      CHECK_FALSE(fs::exists(setup.work));
      const gguf::File after = require_ok(gguf::File::open(setup.out));
      CHECK(require_ok(after.str("quantize.method")) ==
            (method == LayerMethod::gptq ? "gptq" : "awq"));
      const std::vector<Vec> got = ReferenceDecoder(after).logits(tokens);
      double squares = 0, total = 0;
      for (size_t t = 0; t < got.size(); ++t) {
        for (size_t v = 0; v < got[t].size(); ++v) {
          squares += (got[t][v] - expected[t][v]) * (got[t][v] - expected[t][v]);
          total += expected[t][v] * expected[t][v];
        }
      }
      // q8_0; a wrong fold is off by about 1. A router on the brink may send a token elsewhere:
      // where GPTQ quantized experts, weights are looked at alone.
      if (tiny.n_experts == 0 || method == LayerMethod::awq)
        CHECK(std::sqrt(squares / total) < 0.05);
      if (method == LayerMethod::gptq) check_weights(before, after);
    }
  }
}

TEST_CASE("layerwise: a stopped run goes on to the same bytes, on any number of threads") {
  for (const LayerMethod method : {LayerMethod::gptq, LayerMethod::awq}) {
    TinyModel tiny = tiny_model("llama");
    tiny.n_layers = 3;
    const LayerwiseRig setup(tiny);
    require_ok(setup.run(setup.method(method), "i4g32"));
    const std::string whole = setup.bytes();
    require_ok(setup.run(setup.method(method), "i4g32", {}, 3));
    CHECK(setup.bytes() == whole);
    fs::remove(setup.out);
    // Stopped while the file is written, all layers done.
    int until_written = 5 * 12;
    const auto unwritten =
        setup.run(setup.method(method), "i4g32", [&] { return --until_written < 0; });
    REQUIRE_FALSE(unwritten.ok());
    CHECK(unwritten.error().message.find("; 3 finished layers are kept in") != std::string::npos);
    require_ok(setup.run(setup.method(method), "i4g32"));
    CHECK(setup.bytes() == whole);
    fs::remove(setup.out);
    // Stopped while the second layer is watched, then while the third one is.
    std::vector<std::string> said;
    for (const int asked : {12 + 12 + 3, 12 + 12 + 12 + 3}) {
      int left = asked;
      const auto result = setup.run(setup.method(method), "i4g32", [&] { return --left < 0; });
      REQUIRE_FALSE(result.ok());
      CHECK(result.error().code == ErrorCode::cancelled);
      CHECK(result.error().message.find("finished layers are kept") != std::string::npos);
      CHECK_FALSE(fs::exists(setup.out));
      CHECK(fs::exists(setup.work / "layer-00000.gguf"));
    }
    LayerwiseOptions options = setup.method(method);
    uint64_t last = 0, last_total = 0;
    options.announce = [&](std::string_view line) { said.emplace_back(line); };
    options.progress = [&](uint64_t done, uint64_t total) {
      CHECK(done >= last);
      CHECK(done <= total);
      last = done;
      last_total = total;
    };
    require_ok(setup.run(std::move(options), "i4g32"));
    CHECK(setup.bytes() == whole);
    CHECK(last > 0.99 * double(last_total));
    REQUIRE(said.size() == 3);
    CHECK(said[0].find("3 layers, 384 tokens in 12 sequences") != std::string::npos);
    CHECK(said[1] == "going on behind 2 finished layers of 3");
    CHECK(said[2].starts_with("about "));
  }
}

// One number of a tensor becomes another: the first, or that many behind it.
void spoil(const fs::path& path, std::string_view tensor, float value, size_t index = 0) {
  std::string bytes = require_ok(read_file(path, 1 << 28));
  const gguf::File file =
      require_ok(gguf::File::parse(std::as_bytes(std::span(bytes.data(), bytes.size()))));
  const gguf::TensorInfo* info = file.tensor(tensor);
  REQUIRE(info != nullptr);
  const auto at = size_t(reinterpret_cast<const char*>(info->bytes.data()) - bytes.data()) +
                  index * sizeof value;
  std::memcpy(bytes.data() + at, &value, sizeof value);
  FileWriter writer = require_ok(FileWriter::create(path));
  require_ok(writer.write(bytes));
  require_ok(writer.commit(FileWriter::Sync::no));
}

TEST_CASE("layerwise: finished layers of another run are not taken") {
  TinyModel tiny = widened(tiny_model("llama"), DType::f32);
  const LayerwiseRig setup(tiny);
  int left = 12 + 12 + 3;
  REQUIRE_FALSE(
      setup.run(setup.method(LayerMethod::gptq), "q4_0", [&] { return --left < 0; }).ok());
  LayerwiseOptions other = setup.method(LayerMethod::gptq);
  other.method.feedback.damping = 0.5f;
  CHECK(setup.refusal(other, "q4_0").find("found those of another run") != std::string::npos);
  other = setup.method(LayerMethod::gptq);
  other.text += "one more sequence of words that were not there when the first layer was made, yes";
  other.max_sequences = 1000;
  CHECK(setup.refusal(other, "q4_0").find("found those of another run") != std::string::npos);
  // Another model: one weight, far from the ends of its tensor.
  const size_t middle =
      require_ok(gguf::File::open(setup.in)).tensor("blk.0.ffn_up.weight")->bytes.size() / 8;
  CHECK(middle > 4096);
  spoil(setup.in, "blk.0.ffn_up.weight", 0.125f, middle);
  CHECK(setup.refusal(setup.method(LayerMethod::gptq), "q4_0").find("those of another run") !=
        std::string::npos);
  // The same weights with another key, which is as good as another model.
  TinyModel longer = tiny;
  longer.n_ctx *= 2;
  require_ok(write_tiny_model(longer).save(setup.in));
  CHECK(setup.refusal(setup.method(LayerMethod::gptq), "q4_0").find("those of another run") !=
        std::string::npos);
  // A part that was cut: the file says so.
  require_ok(write_tiny_model(tiny).save(setup.in));
  const fs::path part = setup.work / "layer-00000.gguf";
  fs::resize_file(part, fs::file_size(part) / 2);
  CHECK(setup.refusal(setup.method(LayerMethod::gptq), "q4_0").find("layer-00000.gguf") !=
        std::string::npos);
}

TEST_CASE("layerwise: damaged calibration and weights end in one sentence") {
  const LayerwiseRig setup(widened(tiny_model("llama"), DType::f32));
  for (const LayerMethod method : {LayerMethod::gptq, LayerMethod::awq}) {
    LayerwiseOptions options = setup.method(method);
    options.text = "";
    CHECK(setup.refusal(options).find("calibration text of at least 31 tokens, found 0") !=
          std::string::npos);
    options.text = "too short";
    CHECK(setup.refusal(options).find("calibration text of at least 31 tokens, found ") !=
          std::string::npos);
    options = setup.method(method);
    options.method.bits = 3;
    CHECK(setup.refusal(options, "q4_0")
              .find("expected a type of groups (i4g32, i4g64 or i4g128) for 3 bits") !=
          std::string::npos);
  }
}

TEST_CASE("layerwise: activations and weights that are not finite end in one sentence") {
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(), 1e38f};
  for (const float value : bad) {
    LayerwiseRig setup(widened(tiny_model("llama"), DType::f32));
    spoil(setup.in, "blk.0.attn_norm.weight", value);  // what enters the first matrices
    const std::string message = setup.refusal(setup.method(LayerMethod::gptq));
    CHECK(message.find("blk.0.attn_q.weight: expected finite activations") != std::string::npos);
  }
  for (const char* type : {"q4_0", "i4g32"}) {  // without a method, and by groups of three bits
    LayerwiseRig plain(widened(tiny_model("llama"), DType::f32));
    spoil(plain.in, "blk.1.ffn_down.weight", NAN);
    QuantizeOptions options{.in = plain.in, .out = plain.out, .recipe = type};
    if (type[0] == 'i') options.method = make_group_rounding(3, false);
    const Result<QuantizeReport> result = quantize(std::move(options));
    REQUIRE_FALSE(result.ok());
    CHECK(result.error().message == "blk.1.ffn_down.weight: expected finite weights, found others");
    CHECK_FALSE(fs::exists(plain.out));
  }
  LayerwiseRig setup(widened(tiny_model("llama"), DType::f32));
  spoil(setup.in, "blk.1.ffn_down.weight", INFINITY);
  const std::string message = setup.refusal(setup.method(LayerMethod::awq));
  CHECK(message.find("blk.1.ffn_down.weight: expected finite weights") != std::string::npos);
  // Whatever ends a run, it says what there is of it.
  CHECK(message.find("; 1 finished layers are kept in") != std::string::npos);
}

}  // namespace
}  // namespace lm::test
