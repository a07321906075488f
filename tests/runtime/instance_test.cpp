// The same tokens give the same bits: in chunks or whole, alone or in company, in any blocks, with
// any number of threads, on every instruction set of this machine.
#include "engine/runtime/instance.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "tests/runtime/support.h"

namespace lm {
namespace {

using test::ModelFile;
using Tokens = std::vector<TokenId>;
using Rows = std::vector<float>;  // [n_tokens, n_vocab]

// Feeds one sequence in steps of `chunk` tokens, the last `singles` one by one, and returns the
// logits after every token.
Rows feed(Instance& instance, const Tokens& tokens, size_t chunk, size_t singles = 0) {
  BlockTable table(instance.pool());
  REQUIRE(table.grow(int(tokens.size())));
  Rows all;
  for (size_t first = 0, n = 0; first < tokens.size(); first += n) {
    const size_t left = tokens.size() - first;
    n = left > singles ? std::min(chunk, left - singles) : 1;
    REQUIRE(table.open_window(int(first), int(first + n)));
    const StepRow row = {.tokens = std::span(tokens).subspan(first, n),
                         .first_position = int(first),
                         .table = &table,
                         .n_logits = int(n)};
    const std::span<float> logits = test::require_ok(instance.step(std::span(&row, 1)));
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

// Takes every block and gives them back in a random order: the next tables are scattered.
void scramble(BlockPool& pool, uint64_t seed) {
  test::Random random(seed);
  std::vector<BlockId> ids;
  for (BlockId id = pool.take(); id >= 0; id = pool.take()) ids.push_back(id);
  for (size_t i = ids.size(); i > 1; --i) std::swap(ids[i - 1], ids[random.below(i)]);
  for (const BlockId id : ids) pool.release(id);
}

InstanceOptions all_logits(const ModelFile& file) {
  InstanceOptions options = test::options_for(file.path());
  options.max_step_logits = options.max_step_tokens;
  return options;
}

std::vector<test::TinyModel> models() {
  return {test::tiny_model("llama"), test::tiny_model("gemma3"), test::tiny_model("qwen3moe"),
          test::tiny_model("gpt-oss"), test::widened(test::tiny_model("llama"), DType::q8_0)};
}

constexpr size_t kTokens = 270;  // more than one segment of 256 keys

TEST_CASE("every ISA: chunks, threads, block sizes and scattered blocks give the same bits") {
  for (const test::TinyModel& model : models()) {
    const ModelFile file(model);
    for (const std::string_view isa : cpu::usable_isas()) {
      CAPTURE(model.name);
      CAPTURE(std::string(isa));
      InstanceOptions options = all_logits(file);
      options.backend.isa = isa;
      options.block_size = 512;  // contiguous
      options.max_step_tokens = options.max_step_logits = int(kTokens);
      const auto whole = test::open(options);
      const Tokens tokens = test::random_tokens(5, kTokens, whole->config().n_vocab);
      const Rows expected = feed(*whole, tokens, kTokens);
      REQUIRE(expected.size() == kTokens * size_t(whole->config().n_vocab));

      options.block_size = 16;
      const auto paged = test::open(options);
      scramble(paged->pool(), 17);
      CHECK(feed(*paged, tokens, 33, 20) == expected);
      options.block_size = 32;
      options.backend.n_threads = 2;
      CHECK(feed(*test::open(options), tokens, 100, 3) == expected);
    }
  }
}

TEST_CASE("the number of threads does not show") {
  const ModelFile file(test::tiny_model("llama"));
  InstanceOptions options = all_logits(file);
  const Tokens tokens = test::random_tokens(5, kTokens, 200);
  const Rows expected = feed(*test::open(options), tokens, 64);
  for (const int n_threads : {2, 3, 5}) {
    options.backend.n_threads = n_threads;
    CHECK(feed(*test::open(options), tokens, 64, 2) == expected);
  }
}

TEST_CASE("several sequences in a step give each the bits it has alone") {
  for (const test::TinyModel& model : models()) {
    const ModelFile file(model);
    CAPTURE(model.name);
    InstanceOptions options = all_logits(file);
    options.max_seqs = 4;
    options.max_step_tokens = options.max_step_logits = 100;
    options.backend.n_threads = 2;
    const auto instance = test::open(options);
    const size_t n_vocab = size_t(instance->config().n_vocab);

    std::vector<Tokens> tokens;
    std::vector<Rows> expected, got(4);
    for (size_t s = 0; s < 4; ++s) {
      tokens.push_back(test::random_tokens(s + 1, 40 + 60 * s, int(n_vocab)));
      expected.push_back(feed(*instance, tokens[s], 64));
    }
    scramble(instance->pool(), 3);
    std::vector<BlockTable> tables;
    for (size_t s = 0; s < 4; ++s) {
      tables.emplace_back(instance->pool());
      REQUIRE(tables[s].grow(int(tokens[s].size())));
    }
    test::Random random(9);
    std::vector<size_t> done(4, 0);
    while (true) {
      std::vector<StepRow> rows;
      std::vector<size_t> who;
      for (size_t s = 0; s < 4; ++s) {
        const size_t n = std::min(size_t(1 + random.below(24)), tokens[s].size() - done[s]);
        if (n == 0) continue;
        REQUIRE(tables[s].open_window(int(done[s]), int(done[s] + n)));
        rows.push_back({.tokens = std::span(tokens[s]).subspan(done[s], n),
                        .first_position = int(done[s]),
                        .table = &tables[s],
                        .n_logits = int(n)});
        who.push_back(s);
        done[s] += n;
      }
      if (rows.empty()) break;
      std::span<float> logits = test::require_ok(instance->step(rows));
      for (size_t i = 0; i < rows.size(); ++i) {
        const std::span<float> part = logits.first(rows[i].tokens.size() * n_vocab);
        got[who[i]].insert(got[who[i]].end(), part.begin(), part.end());
        logits = logits.subspan(part.size());
      }
    }
    for (size_t s = 0; s < 4; ++s) CHECK(got[s] == expected[s]);
  }
}

TEST_CASE("f16 and q8_0 caches: chunks and blocks don't show either") {
  const ModelFile file(test::widened(test::tiny_model("qwen3"), DType::q8_0));
  for (const DType kv : {DType::f16, DType::q8_0}) {
    InstanceOptions options = all_logits(file);
    options.kv_dtype = kv;
    const auto instance = test::open(options);
    CHECK(instance->kv_dtype() == kv);
    const Tokens tokens = test::random_tokens(6, kTokens, instance->config().n_vocab);
    const Rows expected = feed(*instance, tokens, 64);
    scramble(instance->pool(), 5);
    options.block_size = 64;
    options.backend.n_threads = 2;
    CHECK(feed(*instance, tokens, 7) == expected);
    CHECK(feed(*test::open(options), tokens, 64) == expected);
  }
}

TEST_CASE("only the wanted rows' logits come back") {
  const ModelFile file(test::tiny_model("llama"));
  const auto instance = test::open(all_logits(file));
  const size_t n_vocab = size_t(instance->config().n_vocab);
  const Tokens tokens = test::random_tokens(7, 20, int(n_vocab));
  const Rows all = feed(*instance, tokens, 20);
  BlockTable table(instance->pool());
  REQUIRE(table.grow(20));
  StepRow row = {.tokens = tokens, .first_position = 0, .table = &table, .n_logits = 3};
  const std::span<float> last3 = test::require_ok(instance->step(std::span(&row, 1)));
  CHECK(Rows(last3.begin(), last3.end()) ==
        Rows(all.end() - std::ptrdiff_t(3 * n_vocab), all.end()));
  row.n_logits = 0;
  CHECK(test::require_ok(instance->step(std::span(&row, 1))).empty());
}

TEST_CASE("ids outside the vocabulary and positions past the context never reach the backend") {
  const ModelFile file(test::tiny_model("llama"));
  InstanceOptions options = test::options_for(file.path());
  options.n_ctx = 20;
  const auto instance = test::open(options);
  BlockTable table(instance->pool());
  REQUIRE(table.grow(20));
  for (const TokenId bad : {-1, instance->config().n_vocab, 1 << 30}) {
    const Tokens tokens = {1, bad};
    const StepRow row = {.tokens = tokens, .first_position = 0, .table = &table};
    const auto result = instance->step(std::span(&row, 1));
    REQUIRE_FALSE(result.ok());
    CHECK(result.error().code == ErrorCode::bad_request);
  }
  const Tokens tokens(2, 1);
  const StepRow row = {.tokens = tokens, .first_position = 19, .table = &table};
  const auto result = instance->step(std::span(&row, 1));
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code == ErrorCode::context_full);
}

TEST_CASE("what an instance says about itself") {
  const ModelFile file(test::tiny_model("llama"));
  InstanceOptions options = test::options_for(file.path());
  options.n_ctx = 0;
  options.max_seqs = 3;
  const auto instance = test::open(options);
  CHECK(instance->n_ctx() == 1024);  // as trained
  CHECK(instance->max_seqs() == 3);
  CHECK(instance->pool().n_blocks() == 3 * 64);
  const uint64_t token_bytes = 2 /* K, V */ * 2 /* layers */ * 2 /* heads */ * 6 * sizeof(float);
  CHECK(instance->kv_bytes() == 3 * 1024 * token_bytes);
  CHECK(instance->tokenizer() != nullptr);
  CHECK(instance->weight_bytes() > 0);
}

TEST_CASE("a budget shortens the context, and refuses a stated one with the numbers") {
  const ModelFile file(test::tiny_model("llama"));
  InstanceOptions options = test::options_for(file.path());
  options.n_ctx = 0;
  options.kv_budget = 64 << 10;
  const auto instance = test::open(options);
  CHECK(instance->n_ctx() == (64 << 10) / (192 * 16) * 16);
  CHECK(instance->kv_bytes() <= options.kv_budget);
  options.n_ctx = 1024;
  const auto refused = Instance::open(test::cpu_registry(), options);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == ErrorCode::out_of_memory);
  CHECK(refused.error().message.find("1024 tokens") != std::string::npos);
}

TEST_CASE("options that can't work are refused in a sentence") {
  const ModelFile file(test::tiny_model("llama"));  // heads of 6
  const auto code_of = [&](auto change) {
    InstanceOptions options = test::options_for(file.path());
    change(options);
    const auto result = Instance::open(test::cpu_registry(), options);
    REQUIRE_FALSE(result.ok());
    CHECK_FALSE(result.error().message.empty());
    return result.error().code;
  };
  CHECK(code_of([](auto& o) { o.kv_dtype = DType::q8_0; }) == ErrorCode::unsupported);
  CHECK(code_of([](auto& o) { o.kv_dtype = DType::q4_0; }) == ErrorCode::bad_request);
  CHECK(code_of([](auto& o) { o.block_size = 0; }) == ErrorCode::bad_request);
  CHECK(code_of([](auto& o) { o.n_ctx = -1; }) == ErrorCode::bad_request);
  CHECK(code_of([](auto& o) { o.max_seqs = 0; }) == ErrorCode::bad_request);
  CHECK(code_of([](auto& o) { o.max_step_tokens = 0; }) == ErrorCode::bad_request);
  CHECK(code_of([](auto& o) { o.n_ctx = 2147483647; }) == ErrorCode::out_of_memory);
  CHECK(code_of([](auto& o) { o.device = "abacus"; }) == ErrorCode::bad_request);
  CHECK(code_of([](auto& o) { o.model_path = "/nowhere.gguf"; }) == ErrorCode::bad_file);
}

}  // namespace
}  // namespace lm
