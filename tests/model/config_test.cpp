// What a file may say about its model, and what is said about a file that makes no sense.
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "tests/model/tiny_file.h"
#include "tests/reference/tiny_model.h"

namespace lm::test {
namespace {

using Edit = std::function<void(gguf::Writer&)>;

// The tiny model of an architecture with some metadata changed.
std::vector<std::byte> edited(std::string_view architecture, const Edit& edit) {
  TinyFile tiny = write_tiny_model(tiny_model(architecture));
  edit(tiny.writer);
  return tiny.bytes();
}

Result<ModelConfig> config_of(const std::vector<std::byte>& bytes) {
  return read_config(require_ok(gguf::File::parse(bytes)));
}

std::string error_of(const std::vector<std::byte>& bytes) {
  const Status status = load_and_run(bytes);
  return status.ok() ? "no error" : status.error().message;
}

TEST_CASE("the config of stories260K, which leaves much unsaid") {
  LM_FIXTURE(path, "models/stories260K/stories260K.gguf");
  const ModelConfig config = require_ok(read_config(require_ok(gguf::File::open(path))));
  CHECK(config.family == "llama");
  CHECK(config.d_model == 64);
  CHECK(config.n_vocab == 512);
  CHECK(config.n_ctx_train == 2048);
  REQUIRE(config.layers.size() == 5);
  const LayerSpec& layer = config.layers[4];
  CHECK(layer.attn.n_heads == 8);
  CHECK(layer.attn.n_kv_heads == 4);
  CHECK(layer.attn.head_dim == 8);  // no attention.key_length: d_model / n_heads
  CHECK(layer.attn.rope.theta == 10000.0f);
  CHECK_FALSE(layer.attn.rope.neox);
  CHECK(layer.ffn.d_ff == 172);
}

TEST_CASE("what families leave unsaid") {
  const ModelConfig gemma = require_ok(config_of(edited("gemma3", [](gguf::Writer&) {})));
  CHECK(gemma.embed_scale == doctest::Approx(std::sqrt(20.0)));
  for (size_t i = 0; i < 7; ++i) {  // five windowed layers, then one that sees everything
    CHECK(gemma.layers[i].attn.window == (i == 5 ? 0 : 5));
    CHECK(gemma.layers[i].attn.rope.theta == (i == 5 ? 500.0f : 10000.0f));
    CHECK(gemma.layers[i].norm.post);
  }
  const ModelConfig oss = require_ok(config_of(edited("gpt-oss", [](gguf::Writer&) {})));
  CHECK(oss.layers[0].attn.window == 6);
  CHECK(oss.layers[1].attn.window == 0);
  CHECK(oss.layers[1].attn.sinks);
  CHECK(oss.layers[1].ffn.limit == 7);
  CHECK(oss.layers[1].attn.rope == oss.layers[0].attn.rope);
  const ModelConfig phi = require_ok(config_of(edited("phi3", [](gguf::Writer&) {})));
  CHECK(phi.layers[0].attn.rope.dims == 6);
  CHECK(phi.layers[0].attn.window == 7);
}

TEST_CASE("a vocabulary without a model has a config") {
  LM_FIXTURE(path, "tokenizers/vocab-llama-bpe.gguf");
  const ModelConfig config = require_ok(read_config(require_ok(gguf::File::open(path))));
  CHECK(config.family == "llama");
  CHECK(config.n_vocab == 128256);
}

TEST_CASE("odd ways to say it are understood") {
  CHECK(load_and_run(edited("llama", [](gguf::Writer& w) {
          w.set_i32s("llama.feed_forward_length", std::vector<int32_t>{28, 28});
          w.set_i32s("llama.attention.head_count", std::vector<int32_t>{4, 4});
          w.set_u64("llama.block_count", 2);
          w.set_f32("llama.rope.scaling.factor", 0);
          w.set_u32("llama.attention.sliding_window", 0);
        })).ok());
  const ModelConfig one_by_one = require_ok(config_of(edited("gemma3", [](gguf::Writer& w) {
    w.set_i32s("gemma3.attention.sliding_window_pattern",
               std::vector<int32_t>{0, 1, 1, 0, 0, 1, 0});
  })));
  CHECK(one_by_one.layers[0].attn.window == 0);
  CHECK(one_by_one.layers[5].attn.window == 5);
  const ModelConfig big = require_ok(config_of([] {
    gguf::Writer w;  // no tensors
    w.set_str("general.architecture", "gemma3");
    w.set_u32("gemma3.block_count", 62);
    w.set_u32("gemma3.context_length", 131072);
    w.set_u32("gemma3.embedding_length", 5376);
    w.set_u32("gemma3.feed_forward_length", 21504);
    w.set_u32("gemma3.attention.head_count", 32);
    w.set_u32("gemma3.attention.head_count_kv", 16);
    w.set_u32("gemma3.attention.key_length", 128);
    w.set_u32("gemma3.attention.value_length", 128);
    w.set_f32("gemma3.attention.layer_norm_rms_epsilon", 1e-6f);
    return require_ok(w.to_bytes([](size_t, const gguf::Writer::Sink&) { return ok(); }));
  }()));
  CHECK(big.layers[0].attn.scale == doctest::Approx(1 / std::sqrt(168.0)));
}

TEST_CASE("a number that makes no sense is named") {
  struct Case {
    std::string_view architecture;
    Edit edit;
    std::string_view message;
  };
  const auto u32 = [](std::string key, uint32_t value) {
    return [=](gguf::Writer& w) { w.set_u32(key, value); };
  };
  const auto f32 = [](std::string key, float value) {
    return [=](gguf::Writer& w) { w.set_f32(key, value); };
  };
  const auto str = [](std::string key, std::string value) {
    return [=](gguf::Writer& w) { w.set_str(key, value); };
  };
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const Case cases[] = {
      {"llama", str("general.architecture", "mamba"),
       "general.architecture: expected one of llama"},
      {"llama", str("general.architecture", "a\x1b[2J"), "found 'a?[2J'"},
      {"llama", u32("llama.block_count", 0),
       "llama.block_count: expected a number from 1 to 1024, found 0"},
      {"llama", u32("llama.block_count", 0xFFFFFFFF), "found 4294967295"},
      {"llama", u32("llama.block_count", 3),
       "expected 3 layers as llama.block_count says, found no blk.2."},
      {"llama", u32("llama.block_count", 1),
       "expected 1 layers as llama.block_count says, found also blk.1."},
      {"llama", str("llama.block_count", "two"), "llama.block_count"},
      {"llama", u32("llama.embedding_length", 25),
       "llama.embedding_length: expected a multiple of 4 heads, found 25"},
      {"llama", u32("llama.embedding_length", 32),
       "expected token_embd.weight of 298×32, found 298×24"},
      {"llama", u32("llama.context_length", 0), "llama.context_length"},
      {"llama", u32("llama.attention.head_count", 0),
       "llama.attention.head_count: expected a number from 1"},
      {"llama", u32("llama.attention.head_count_kv", 0),
       "llama.attention.head_count_kv: expected a number from 1"},
      {"llama", u32("llama.attention.head_count_kv", 3), "expected a divisor of 4 heads, found 3"},
      {"llama", u32("llama.attention.head_count_kv", 1),
       "expected blk.0.attn_k.weight of 6×24, found 12×24"},
      {"llama", u32("llama.attention.value_length", 4), "llama.attention.value_length: expected 6"},
      {"llama", u32("llama.feed_forward_length", 29),
       "expected blk.0.ffn_gate.weight of 29×24, found 28×24"},
      {"llama", u32("llama.feed_forward_length", 0x7FFFFFFF), "llama.feed_forward_length"},
      {"llama", f32("llama.attention.layer_norm_rms_epsilon", kNan),
       "llama.attention.layer_norm_rms_epsilon"},
      {"llama", f32("llama.attention.layer_norm_rms_epsilon", -1),
       "llama.attention.layer_norm_rms_epsilon"},
      {"llama", f32("llama.rope.freq_base", 0),
       "llama.rope.freq_base: expected a number from 1.001"},
      {"llama", f32("llama.rope.freq_base", kNan), "llama.rope.freq_base"},
      {"llama", u32("llama.rope.dimension_count", 5),
       "llama.rope.dimension_count: expected an even number, found 5"},
      {"llama", u32("llama.rope.dimension_count", 8),
       "llama.rope.dimension_count: expected a number from 2 to 6"},
      {"llama", str("llama.rope.scaling.type", "magic"),
       "expected none, linear, yarn or longrope, found 'magic'"},
      {"llama", u32("llama.expert_count", 2), "llama.expert_used_count"},
      {"llama", f32("llama.final_logit_softcapping", 30), "llama.final_logit_softcapping"},
      {"llama",
       [](gguf::Writer& w) { w.set_i32s("llama.feed_forward_length", std::vector<int32_t>{28}); },
       "llama.feed_forward_length: expected 2 numbers, one for each layer, found 1"},
      {"llama",
       [](gguf::Writer& w) {
         w.set_i32s("llama.attention.head_count_kv", std::vector<int32_t>{2, 4});
       },
       "expected every layer to have as many heads, found layer 1 different"},
      {"llama",
       [](gguf::Writer& w) {
         w.set_strs("tokenizer.ggml.tokens", std::vector<std::string>(299, "x"));
       },
       "expected an embedding for each of the 299 tokens of the vocabulary, found 298 rows"},
      {"qwen3moe", u32("qwen3moe.expert_count", 0),
       "qwen3moe.expert_count: expected a number from 1"},
      {"qwen3moe", u32("qwen3moe.expert_used_count", 6), "expected a number from 1 to 5, found 6"},
      {"qwen3moe", u32("qwen3moe.expert_count", 6),
       "expected blk.0.ffn_gate_inp.weight of 6×20, found 5×20"},
      {"qwen3moe", u32("qwen3moe.expert_feed_forward_length", 11),
       "expected blk.0.ffn_gate_exps.weight of 5×11×20, found 5×10×20"},
      {"phi3", u32("phi3.feed_forward_length", 27),
       "expected blk.0.ffn_up.weight of 54×32, found 56×32"},
      {"gemma3",
       [](gguf::Writer& w) {
         w.set_i32s("gemma3.attention.sliding_window_pattern", std::vector<int32_t>{1, 0});
       },
       "expected an array of 7 flags"},
  };
  for (const Case& c : cases) {
    const std::string message = error_of(edited(c.architecture, c.edit));
    CAPTURE(message);
    CHECK(message.find(c.message) != std::string::npos);
    CHECK(message.find('\n') == std::string::npos);
  }
}

TEST_CASE("a missing key is named") {
  for (const std::string_view key :
       {"general.architecture", "llama.block_count", "llama.context_length",
        "llama.embedding_length", "llama.attention.head_count", "llama.feed_forward_length",
        "llama.attention.layer_norm_rms_epsilon"}) {
    std::vector<std::byte> bytes = edited("llama", [](gguf::Writer&) {});
    rename(bytes, key);
    const std::string message = error_of(bytes);
    CAPTURE(message);
    CHECK(message.find(key) != std::string::npos);
  }
}

TEST_CASE("a missing tensor is named, and one too many is refused") {
  for (const TinyModel& tiny : tiny_models()) {
    const std::vector<std::byte> bytes = write_tiny_model(tiny).bytes();
    const gguf::File file = require_ok(gguf::File::parse(bytes));
    for (const gguf::TensorInfo& info : file.tensors()) {
      std::vector<std::byte> damaged = bytes;
      rename(damaged, info.name);
      CAPTURE(tiny.name);
      CAPTURE(info.name);
      const Status status = load_and_run(damaged);
      CHECK_FALSE(status.ok());
    }
  }
}

// Any number anywhere: an error or a model that runs, never a crash or a flood of memory.
TEST_CASE("hostile numbers in every key") {
  for (const std::string_view architecture : known_architectures()) {
    const TinyFile tiny = write_tiny_model(tiny_model(architecture));
    const std::vector<std::byte> bytes = tiny.bytes();
    const gguf::File file = require_ok(gguf::File::parse(bytes));
    for (const std::string_view key : file.keys()) {
      if (!key.starts_with(architecture)) continue;
      CAPTURE(key);
      for (const uint32_t value :
           {0u, 1u, 2u, 3u, 7u, 255u, 0x7FFFFFFFu, 0x80000000u, 0xFFFFFFFFu}) {
        CAPTURE(value);
        const auto as_u32 = [&](gguf::Writer& w) { w.set_u32(key, value); };
        const Status whole = load_and_run(edited(architecture, as_u32));
        const auto as_i32 = [&](gguf::Writer& w) { w.set_i32(key, int32_t(value)); };
        const Status signed_whole = load_and_run(edited(architecture, as_i32));
        CHECK((whole.ok() || !whole.error().message.empty()));
        CHECK((signed_whole.ok() || !signed_whole.error().message.empty()));
      }
      for (const float value : {0.0f, -1.0f, 1e-38f, 3e38f, std::nanf(""), INFINITY}) {
        CAPTURE(value);
        const auto as_f32 = [&](gguf::Writer& w) { w.set_f32(key, value); };
        const Status status = load_and_run(edited(architecture, as_f32));
        CHECK((status.ok() || !status.error().message.empty()));
      }
      const auto as_str = [&](gguf::Writer& w) { w.set_str(key, "seven"); };
      if (key != std::string(architecture) + ".rope.scaling.type") {
        CHECK_FALSE(load_and_run(edited(architecture, as_str)).ok());
      }
    }
  }
}

// A tensor may come in any format that takes as many bytes.
TEST_CASE("integers where weights should be") {
  for (const std::string_view architecture : {"llama", "phi3", "gpt-oss", "qwen3"}) {
    const std::vector<std::byte> bytes = write_tiny_model(tiny_model(architecture)).bytes();
    const gguf::File file = require_ok(gguf::File::parse(bytes));
    for (const gguf::TensorInfo& info : file.tensors()) {
      CAPTURE(info.name);
      std::vector<std::byte> damaged = bytes;
      *dtype_of(damaged, info) = std::byte(dtype_info(DType::i32).gguf_id);
      const Status status = load_and_run(damaged);
      CHECK((status.ok() || !status.error().message.empty()));
    }
  }
}

TEST_CASE("loading tells how far it is, and how much a token costs") {
  const std::vector<std::byte> bytes = write_tiny_model(tiny_model("qwen3moe")).bytes();
  const gguf::File file = require_ok(gguf::File::parse(bytes));
  Registry registry;
  registry.add(cpu::registry_entry());
  const auto backend = require_ok(registry.open("cpu", {.n_threads = 1, .isa = {}}));
  uint64_t last = 0, all = 0;
  const Model model =
      require_ok(Model::load(file, *backend, {.progress = [&](uint64_t done, uint64_t total) {
                               CHECK(done >= last);
                               last = done;
                               all = total;
                             }}));
  CHECK(last == all);
  CHECK(all > 0);
  // Per layer: q, k, v, o, router, and 3 of 5 experts; then the output.
  const uint64_t attention = 20 * 24 + 2 * 20 * 12 + 24 * 20, experts = 3 * 3 * 20 * 10;
  CHECK(model.weight_bytes() == 4 * (2 * (attention + 5 * 20 + experts) + 298 * 20));
}

}  // namespace
}  // namespace lm::test
