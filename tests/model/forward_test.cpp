// The forward pass against the double-precision decoder of tests/reference: every family, on every
// instruction set, and what must not change a bit of the result.
#include <cmath>
#include <cstring>

#include "quant/encode.h"
#include "tests/model/run_model.h"
#include "tests/reference/reference_decoder.h"
#include "tests/reference/tiny_model.h"

namespace lm::test {
namespace {

// f32 weights and f32 KV: rounding only. The issue asks for 1e-4.
constexpr double kFloatTolerance = 1e-5;

// A tiny model's file in memory, parsed.
struct InMemory {
  std::vector<std::byte> bytes;
  gguf::File file;

  explicit InMemory(const TinyModel& model)
      : bytes(write_tiny_model(model).bytes()), file(require_ok(gguf::File::parse(bytes))) {}
};

double error_of(const InMemory& model, const RunOptions& options, std::span<const TokenId> tokens,
                const std::vector<Vec>& expected) {
  ModelRunner runner(model.file, options);
  return worst_error(runner.run(tokens), expected);
}

std::vector<TokenId> tokens_for(const InMemory& model, int n) {
  return random_tokens(n, int(ReferenceDecoder(model.file).n_vocab()), 5);
}

TEST_CASE("every family equals the reference decoder, on every instruction set") {
  for (const TinyModel& tiny : tiny_models()) {
    const InMemory model(tiny);
    const std::vector<TokenId> tokens = tokens_for(model, 40);
    const std::vector<Vec> expected = ReferenceDecoder(model.file).logits(tokens);
    for (const std::string_view isa : cpu::usable_isas()) {
      CAPTURE(tiny.name);
      CAPTURE(isa);
      // Chunks of 7: windows and blocks are crossed inside and between steps.
      const RunOptions options{.isa = std::string(isa), .block_size = 4, .max_tokens = 7};
      CHECK(error_of(model, options, tokens, expected) < kFloatTolerance);
    }
  }
}

TEST_CASE("more keys than one segment of attention") {
  for (const std::string_view name : {"llama", "gemma3", "gpt-oss"}) {
    TinyModel tiny = tiny_model(name);
    if (tiny.window > 0) tiny.window = 300;  // a window that ends inside the segment before
    const InMemory model(tiny);
    const std::vector<TokenId> tokens = tokens_for(model, 600);
    const std::vector<Vec> expected = ReferenceDecoder(model.file).logits(tokens);
    for (const std::string_view isa : cpu::usable_isas()) {
      CAPTURE(name);
      CAPTURE(isa);
      const RunOptions options{.isa = std::string(isa), .n_threads = 2, .max_tokens = 128};
      CHECK(error_of(model, options, tokens, expected) < kFloatTolerance);
    }
  }
}

TEST_CASE("longrope takes the table of the context in use") {
  const InMemory model([] {
    for (TinyModel& tiny : tiny_models()) {
      if (tiny.rope_scaling == "longrope") return tiny;
    }
    FAIL("no tiny model with longrope");
    return TinyModel{};
  }());
  const std::vector<TokenId> tokens = tokens_for(model, 30);
  const std::vector<Vec> short_expected = ReferenceDecoder(model.file, 64).logits(tokens);
  const std::vector<Vec> long_expected = ReferenceDecoder(model.file, 65).logits(tokens);
  const RunOptions short_run{.n_ctx = 64}, long_run{.n_ctx = 65};
  CHECK(error_of(model, short_run, tokens, short_expected) < kFloatTolerance);
  CHECK(error_of(model, long_run, tokens, long_expected) < kFloatTolerance);
  CHECK(error_of(model, long_run, tokens, short_expected) > 1e-3);
}

TEST_CASE("experts with equal scores: the first ones are taken") {
  for (const std::string_view name : {"qwen3moe", "gpt-oss"}) {
    InMemory model(tiny_model(name));
    for (const gguf::TensorInfo& info : model.file.tensors()) {
      if (info.name.find("ffn_gate_inp") == std::string_view::npos) continue;
      const size_t offset = size_t(info.bytes.data() - model.bytes.data());
      std::memset(model.bytes.data() + offset, 0, info.bytes.size());
    }
    const std::vector<TokenId> tokens = tokens_for(model, 20);
    const std::vector<Vec> expected = ReferenceDecoder(model.file).logits(tokens);
    for (const std::string_view isa : cpu::usable_isas()) {
      CAPTURE(name);
      CHECK(error_of(model, {.isa = std::string(isa)}, tokens, expected) < kFloatTolerance);
    }
  }
}

TEST_CASE("chunks, company, blocks and threads don't change a bit") {
  for (const std::string_view name : {"llama", "qwen3moe", "gemma3", "gpt-oss"}) {
    CAPTURE(name);
    const InMemory model(tiny_model(name));
    const std::vector<TokenId> a = tokens_for(model, 50);
    const std::vector<TokenId> b(a.rbegin(), a.rend() - 13);
    for (const std::string_view isa : cpu::usable_isas()) {
      CAPTURE(isa);
      const RunOptions plain{.isa = std::string(isa), .block_size = 64};
      const std::vector<float> whole_a = ModelRunner(model.file, plain).run(a);
      const std::vector<float> whole_b = ModelRunner(model.file, plain).run(b);

      const RunOptions chunked{
          .isa = std::string(isa), .n_threads = 2, .block_size = 4, .max_tokens = 3};
      CHECK(ModelRunner(model.file, chunked).run(a) == whole_a);
      const RunOptions decode{.isa = std::string(isa), .block_size = 8, .max_tokens = 1};
      CHECK(ModelRunner(model.file, decode).run(a) == whole_a);

      ModelRunner both(model.file, {.isa = std::string(isa),
                                    .n_threads = 2,
                                    .block_size = 16,
                                    .max_tokens = 100,
                                    .max_seqs = 2});
      const Chunk chunks[] = {{a, 0, both.take_blocks(50)}, {b, 0, both.take_blocks(37)}};
      std::vector<float> together = whole_a;
      together.insert(together.end(), whole_b.begin(), whole_b.end());
      CHECK(both.step(chunks) == together);
    }
  }
}

// Matrices in a narrow format are decoded exactly by the reference, so what is left is how the
// backend rounds activations. Worst case of an 8-bit activation: blocks of 32 (256 for K-quants)
// share a scale of max|x| / 127, and for normal x max|x| is about 2.2σ (2.9σ), so each number has
// an error of up to half a step, 2.9σ / 254, uniform: a standard error of 2.9 / (254 √3) = 0.7 %. A
// product inherits that; 7 products per layer, 2 layers and the output add up to √15 · 0.7 % = 2.6
// % of a typical logit. A row's largest of 300 logits is 3 times the typical one, and so is the
// largest of its errors: 2.6 %, with a margin of 2.
constexpr double kEightBitTolerance = 0.052;

TEST_CASE("matrices in narrow formats") {
  for (const DType dtype :
       {DType::f16, DType::bf16, DType::q8_0, DType::q4_0, DType::q4_K, DType::q6_K}) {
    if (!can_encode(dtype)) continue;
    const bool exact = dtype == DType::f16 || dtype == DType::bf16;
    for (const std::string_view name : {"llama", "phi3", "qwen3moe"}) {
      const InMemory model(widened(tiny_model(name), dtype));
      const std::vector<TokenId> tokens = tokens_for(model, 5);
      const std::vector<Vec> expected = ReferenceDecoder(model.file).logits(tokens);
      for (const std::string_view isa : cpu::usable_isas()) {
        CAPTURE(name);
        CAPTURE(dtype_name(dtype));
        CAPTURE(isa);
        CHECK(error_of(model, {.isa = std::string(isa)}, tokens, expected) <
              (exact ? kFloatTolerance : kEightBitTolerance));
        CHECK(error_of(model, {.isa = std::string(isa), .in_place = true}, tokens, expected) <
              (exact ? kFloatTolerance : kEightBitTolerance));
      }
    }
  }
}

// The experts' down projection reads gate · σ(1.702 gate) · (up + 1). Where gate and up are normal,
// the largest of 32 of those is 3.5σ, not 2.3σ, and the step of their 8-bit scale 1.5 times as
// wide.
constexpr double kGatedEightBitTolerance = 1.5 * kEightBitTolerance;

TEST_CASE("gpt-oss with MXFP4 experts") {
  TinyModel tiny = widened(tiny_model("gpt-oss"), DType::f32);
  tiny.mxfp4_experts = true;
  const InMemory model(tiny);
  const std::vector<TokenId> tokens = tokens_for(model, 12);
  const std::vector<Vec> expected = ReferenceDecoder(model.file).logits(tokens);
  for (const std::string_view isa : cpu::usable_isas()) {
    CAPTURE(isa);
    CHECK(error_of(model, {.isa = std::string(isa)}, tokens, expected) < kGatedEightBitTolerance);
  }
}

// A cached key or value rounds by 2^-11 (f16) or half of max|x| / 127 over 32 numbers (q8_0), and
// an average over keys does not grow it; √(2 tensors · layers) of those, with a margin of 4.
TEST_CASE("narrow KV caches") {
  for (const std::string_view name : {"llama", "gemma3", "gpt-oss"}) {
    const TinyModel tiny = widened(tiny_model(name), DType::f32);
    const InMemory model(tiny);
    const std::vector<TokenId> tokens = tokens_for(model, 20);
    const std::vector<Vec> expected = ReferenceDecoder(model.file).logits(tokens);
    const double growth = 4 * std::sqrt(2.0 * tiny.n_layers);
    for (const std::string_view isa : cpu::usable_isas()) {
      CAPTURE(name);
      CAPTURE(isa);
      const RunOptions f16{.isa = std::string(isa), .kv_dtype = DType::f16};
      CHECK(error_of(model, f16, tokens, expected) < growth / 2048);
      const RunOptions q8_0{.isa = std::string(isa), .kv_dtype = DType::q8_0};
      CHECK(error_of(model, q8_0, tokens, expected) < growth * 2.2 / 254);
    }
  }
}

}  // namespace
}  // namespace lm::test
