// Guards the numbers that say which arithmetic computed a KV cache: blocks on disk outlive the
// program that wrote them, so nobody may change a bit of K and V without raising one of them. The
// bits of tiny models with every kernel's part in them are compared with those on record.
#include <cmath>
#include <cstdio>
#include <sstream>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "engine/core/hash.h"
#include "engine/core/text.h"
#include "engine/model/rope.h"
#include "engine/runtime/kv_store.h"
#include "tests/runtime/numerics_record.h"
#include "tests/runtime/support.h"

namespace lm {
namespace {

struct Case {
  std::string_view architecture;
  DType weights, kv;
};

// In the order of the record's sums.
constexpr Case kCases[] = {
    {"llama", DType::f32, DType::f32},     {"llama", DType::f16, DType::f16},
    {"llama", DType::bf16, DType::q8_0},   {"qwen2", DType::q8_0, DType::q8_0},
    {"llama", DType::q4_0, DType::f16},    {"qwen3", DType::q4_K, DType::f16},
    {"gemma3", DType::q5_K, DType::f16},   {"phi3", DType::q6_K, DType::f32},
    {"qwen3moe", DType::q4_K, DType::f16}, {"llama", DType::q5_0, DType::q8_0},
    {"gpt-oss", DType::q8_0, DType::f16},  {"llama", DType::iq4_NL, DType::f16},
    {"llama", DType::q2_K, DType::f16},    {"llama", DType::q3_K, DType::f16},
    {"qwen3", DType::i4g128, DType::f16},
};

std::string case_name(const Case& c) {
  return concat(c.architecture, " ", dtype_name(c.weights), " kv ", dtype_name(c.kv));
}

// What the C library's mathematics makes of fixed numbers: random weights, tables of rotations.
// Where that differs, so do the models.
uint64_t mathematics() {
  HashStream stream;
  stream.add(test::write_tiny_model(test::tiny_model("gemma3")).bytes());  // all f32
  for (const auto scaling : {RopeSpec::Scaling::none, RopeSpec::Scaling::yarn}) {
    const RopeTable table = make_rope_table(
        {.dims = 32, .theta = 500, .scaling = scaling, .factor = 4, .n_ctx_original = 256}, {});
    stream.add(std::as_bytes(std::span(table.inv_freq)));
  }
  return stream.value().low;
}

uint64_t models() {
  HashStream stream;
  for (const Case& c : kCases) {
    stream.add(
        test::write_tiny_model(test::widened(test::tiny_model(c.architecture), c.weights)).bytes());
  }
  return stream.value().low;
}

// Of K and V after a prompt in two chunks and a few single tokens.
uint64_t kv_sum(const Case& c, std::string_view isa, std::string& version) {
  const test::ModelFile file(test::widened(test::tiny_model(c.architecture), c.weights));
  InstanceOptions options = test::options_for(file.path());
  options.backend.isa = isa;
  options.n_ctx = 320;
  options.kv_dtype = c.kv;
  options.block_size = 64;
  options.max_step_tokens = 290;
  const auto instance = test::open(options);
  const std::string space = kv_space_text(*instance);
  version = space.substr(0, space.find("; kv"));
  const std::vector<TokenId> tokens = test::random_tokens(11, 301, instance->config().n_vocab);
  BlockTable table(instance->pool());
  HashStream stream;
  for (int first = 0, n = 0; first < 301; first += n) {
    n = first == 0 ? 280 : first == 280 ? 17 : 1;
    REQUIRE(table.prepare(first, first + n));
    const StepRow row{.tokens = std::span(tokens).subspan(size_t(first), size_t(n)),
                      .first_position = first,
                      .table = &table};
    const std::span<float> logits = test::require_ok(instance->step(std::span(&row, 1)));
    stream.add(std::as_bytes(logits));
  }
  std::vector<std::byte> block(size_t(instance->block_bytes()));
  for (int i = table.first_page(); i < int(table.blocks().size()); ++i) {
    test::require_ok(instance->read_block(table.blocks()[size_t(i)], block));
    stream.add(block);
  }
  return stream.value().low;
}

std::string hex_text(uint64_t value) {
  char text[20];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

struct Found {
  std::string version, sums;
  std::vector<std::string> names;  // in sums' order
};

Found measure(std::string_view isa) {
  Found found;
  for (const Case& c : kCases) {
    const std::string sum = hex_text(kv_sum(c, isa, found.version));
    found.sums += (found.sums.empty() ? "" : " ") + sum;
  }
  return found;
}

std::string line_of(std::string_view isa, const Found& found) {
  return concat("    {\"", isa, "\", \"", found.version, "\",\n     \"", found.sums, "\"},\n");
}

const test::NumericsRecord* record_of(std::string_view isa) {
  for (const test::NumericsRecord& record : test::kNumericsRecords) {
    if (record.isa == isa) return &record;
  }
  return nullptr;
}

std::string changed_cases(std::string_view before, std::string_view now) {
  std::istringstream old_sums{std::string(before)}, new_sums{std::string(now)};
  std::string names, a, b;
  for (const Case& c : kCases) {
    a.clear();
    old_sums >> a;
    new_sums >> b;
    if (a != b) names += (names.empty() ? "" : ", ") + case_name(c);
  }
  return names;
}

void check_table(std::string_view isa) {
  const Found found = measure(isa);
  const test::NumericsRecord* record = record_of(isa);
  const std::string line = line_of(isa, found);
  const auto skip = [&](std::string_view why) {
    MESSAGE(concat(isa, ": ", why, ". The line for tests/runtime/numerics_record.h:\n", line));
    test::record_skip(concat(isa, ": ", why));
  };
  if (record == nullptr) return skip("nothing is on record for this table");
  if (record->version != found.version) {
    // Every machine has this table: whoever raises a version records it.
    if (isa != "scalar") return skip("a version was raised, and its bits were not recorded yet");
    FAIL_CHECK(concat("the version of the arithmetic is now \"", found.version,
                      "\", on record is \"", record->version,
                      "\". Put this line in place of the one of ", isa,
                      " in tests/runtime/numerics_record.h (and those of the other tables, which "
                      "this test prints):\n",
                      line));
    return;
  }
  if (record->sums == found.sums) return;
  FAIL_CHECK(concat(
      "the bits of K and V have changed on ", isa, " in: ", changed_cases(record->sums, found.sums),
      ". KV caches on disk from before would be mixed with what is computed now. If the change is "
      "meant:\n  1. raise kArithmetic in backends/cpu/cpu_backend.cpp (a kernel has changed) or "
      "kModelArithmetic in engine/runtime/kv_store.cpp (the order of operations in engine/model "
      "has), once for all changes since the last release;\n  2. build and run this test again and "
      "put the lines that it prints into tests/runtime/numerics_record.h.\nIf it is not meant, "
      "the last change of a kernel is where to look. Found now:\n",
      line));
}

TEST_CASE("numerics: no bit of a KV cache changes without a version that says so") {
  if (test::kSanitized) LM_SKIP("numbers only: left to builds without sanitizers");
  if (mathematics() != test::kNumericsMathematics) {
    const std::string found = hex_text(mathematics());
    MESSAGE(concat("kNumericsMathematics is 0x", found, " here"));
    return test::record_skip(
        concat("the C library's mathematics gives other numbers here than where the bits were "
               "recorded (",
               found, ")"));
  }
  const bool same_models = models() == test::kNumericsModels;
  CHECK_MESSAGE(same_models,
                "the models of this test have changed (their recipe, or how weights are encoded): "
                "no version needs to be raised for that. Put kNumericsModels = 0x",
                hex_text(models()), " and the lines below into tests/runtime/numerics_record.h");
  for (const std::string_view isa : cpu::usable_isas()) {
    CAPTURE(isa);
    check_table(isa);
  }
}

}  // namespace
}  // namespace lm
