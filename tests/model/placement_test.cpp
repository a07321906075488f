// A model in several rooms computes what it computes in one, bit for bit, wherever it is divided.
#include "engine/model/placement.h"

#include "tests/model/run_model.h"
#include "tests/reference/tiny_model.h"

namespace lm::test {
namespace {

using Kind = PartId::Kind;

TEST_CASE("a tensor's name tells the part that it belongs to") {
  struct Case {
    std::string_view tensor;
    PartId part;
  };
  for (const auto& [tensor, part] : {
           Case{"token_embd.weight", {Kind::embedding}},
           Case{"output.weight", {Kind::output}},
           Case{"output_norm.weight", {Kind::output}},
           Case{"blk.0.attn_q.weight", {Kind::attention, 0}},
           Case{"blk.17.post_attention_norm.weight", {Kind::attention, 17}},
           Case{"blk.3.ffn_gate.weight", {Kind::ffn, 3}},
           Case{"blk.3.ffn_norm.perm", {Kind::ffn, 3}},
           Case{"blk.3.post_ffw_norm.weight", {Kind::ffn, 3}},
           Case{"blk.3.ffn_gate_inp.weight", {Kind::ffn, 3}},
           Case{"blk.12.ffn_gate_exps.weight", {Kind::experts, 12}},
           Case{"blk.12.ffn_up_exps.bias", {Kind::experts, 12}},
           Case{"blk.12.ffn_down.7.weight", {Kind::experts, 12}},
       }) {
    CAPTURE(tensor);
    CHECK(part_of(tensor) == part);
  }
  for (const std::string_view tensor :
       {"rope_freqs.weight", "v.blk.0.ffn_up.weight", "blk.", "blk.x.attn_q.weight", "blk.1", "",
        "blk.-1.attn_q.weight", "blk.99999999999.attn_q.weight"}) {
    CAPTURE(tensor);
    CHECK_FALSE(part_of(tensor));
  }
}

TEST_CASE("a placement tells in words what is where") {
  Placement placement(12);
  CHECK(placement.text(0) == "the embedding, layers 0-11, the output");
  CHECK(placement.text(1) == "nothing");
  CHECK_FALSE(placement.uses(1));
  for (const int layer : {0, 1, 2, 7}) {
    for (const Kind kind : {Kind::attention, Kind::ffn, Kind::experts})
      placement.put({kind, layer}, 1);
  }
  placement.put({Kind::experts, 9}, 1);
  placement.put({Kind::experts, 10}, 1);
  CHECK(placement.uses(1));
  CHECK(placement.text(1) == "layers 0-2, 7, the experts of layers 9-10");
  CHECK(placement.text(0) ==
        "the embedding, layers 3-6, 8, 11, the attention of layers 9-10, the routers of layers "
        "9-10, the output");
  for (size_t i = 0; i < placement.n_parts(); ++i) CHECK(placement.index(placement.part(i)) == i);
}

struct InMemory {
  std::vector<std::byte> bytes;
  gguf::File file;

  explicit InMemory(const TinyModel& model)
      : bytes(write_tiny_model(model).bytes()), file(require_ok(gguf::File::parse(bytes))) {}
};

constexpr int kTokens = 24;

std::vector<float> run(const InMemory& model, std::span<const TokenId> tokens,
                       const Placement& placement) {
  // Chunks of 7: windows and blocks are crossed inside and between steps.
  return ModelRunner(model.file,
                     {.n_threads = 1, .block_size = 4, .max_tokens = 7, .placement = placement})
      .run(tokens);
}

TEST_CASE("every family, divided before every part: the bits of one room") {
  for (const TinyModel& tiny : tiny_models()) {
    CAPTURE(tiny.name);
    const InMemory model(tiny);
    const ModelConfig config = require_ok(read_config(model.file));
    const std::vector<TokenId> tokens = random_tokens(kTokens, config.n_vocab, 5);
    const std::vector<float> expected = run(model, tokens, {});
    Placement placement(config.layers.size());
    for (size_t first = placement.n_parts(); first-- > 1;) {
      CAPTURE(first);
      placement.put(placement.part(first), 1);
      CHECK(run(model, tokens, placement) == expected);
    }
  }
}

TEST_CASE("every family, one part elsewhere, or parts at random in three rooms") {
  for (const TinyModel& tiny : tiny_models()) {
    CAPTURE(tiny.name);
    const InMemory model(tiny);
    const ModelConfig config = require_ok(read_config(model.file));
    const std::vector<TokenId> tokens = random_tokens(kTokens, config.n_vocab, 6);
    const std::vector<float> expected = run(model, tokens, {});
    for (size_t i = 0; i < Placement(config.layers.size()).n_parts(); ++i) {
      Placement placement(config.layers.size());
      placement.put(placement.part(i), 1);
      CAPTURE(placement.text(1));
      CHECK(run(model, tokens, placement) == expected);
    }
    Random random(tiny.seed);
    for (int trial = 0; trial < 3; ++trial) {
      Placement placement(config.layers.size());
      for (size_t i = 0; i < placement.n_parts(); ++i)
        placement.put(placement.part(i), int(random.below(3)));
      if (!placement.uses(1) || !placement.uses(2)) continue;
      CHECK(run(model, tokens, placement) == expected);
    }
  }
}

}  // namespace
}  // namespace lm::test
