// Checkpoints of integers, written from known ones in every layout, become a GGUF that holds the
// same numbers bit for bit and computes the same model.
#include <cmath>

#include "engine/core/file.h"
#include "tests/tools/float_logits.h"
#include "tests/tools/known_matrix.h"

namespace fs = std::filesystem;

namespace lm::test {
namespace {

ConvertReport import_model(const HfFolder& folder, const fs::path& out,
                           ConvertOptions options = {}) {
  const fs::path in = out.native() + ".folder";
  fs::remove_all(in);
  folder.save(in);
  options.in = in;
  options.out = out;
  options.vocab = false;
  options.verify = true;
  return require_ok(convert(options));
}

// The largest difference of the logits, over the largest logit.
double worst_difference(const std::vector<float>& x, const std::vector<float>& y) {
  REQUIRE(x.size() == y.size());
  double worst = 0, largest = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    worst = std::max(worst, std::abs(double(x[i]) - double(y[i])));
    largest = std::max(largest, std::abs(double(y[i])));
  }
  REQUIRE(largest > 0);
  return worst / largest;
}

// A permutation of the file; the identity where it has none.
std::vector<int32_t> order_of(const gguf::File& file, const std::string& name, int64_t n) {
  std::vector<int32_t> order(size_t(n), 0);
  std::iota(order.begin(), order.end(), 0);
  const gguf::TensorInfo* info = file.tensor(name);
  if (info == nullptr) return order;
  REQUIRE(info->dtype == DType::i32);
  REQUIRE(info->bytes.size() == order.size() * 4);
  std::memcpy(order.data(), info->bytes.data(), info->bytes.size());
  return order;
}

// Matrices of `plain`, columns in the imported file's order, are those of `imported`.
void check_same_numbers(const gguf::File& imported, const gguf::File& plain) {
  for (int layer = 0; layer < 2; ++layer) {
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    const auto order_key = "llm.import.order." + prefix + "ffn_down";
    std::vector<int32_t> hidden = order_of(imported, "none", 256);
    if (imported.value(order_key) != nullptr) hidden = require_ok(imported.i32s(order_key));
    const std::vector<int32_t> before_qkv = order_of(imported, prefix + "attn_norm.perm", 128);
    const std::vector<int32_t> before_out = order_of(imported, prefix + "attn_output.perm", 128);
    const std::vector<int32_t> before_ffn = order_of(imported, prefix + "ffn_norm.perm", 128);
    const std::vector<int32_t> rows = order_of(imported, "none", 128);
    struct Case {
      const char* name;
      const std::vector<int32_t>&rows, &cols;
    };
    const Case cases[] = {{"attn_q", rows, before_qkv},     {"attn_k", rows, before_qkv},
                          {"attn_v", rows, before_qkv},     {"attn_output", rows, before_out},
                          {"ffn_gate", hidden, before_ffn}, {"ffn_up", hidden, before_ffn},
                          {"ffn_down", rows, hidden}};
    for (const Case& one : cases) {
      CAPTURE(one.name);
      const std::string name = prefix + one.name + ".weight";
      const std::vector<float> got = numbers_of(imported, name), want = numbers_of(plain, name);
      REQUIRE(got.size() == want.size());
      const size_t cols = one.cols.size();
      size_t wrong = 0;
      for (size_t i = 0; i < got.size(); ++i) {
        const size_t from = size_t(one.rows[i / cols]) * cols + size_t(one.cols[i % cols]);
        wrong += got[i] == want[from] ? 0 : 1;
      }
      CHECK(wrong == 0);
    }
  }
}

struct Case {
  Scheme scheme;
  DType expected;
};

void check_import(const Case& one, ConvertOptions options = {}) {
  const Scheme& s = one.scheme;
  INFO("packing ", int(s.packing), " bits ", s.bits, " group ", s.group, " sym ", s.symmetric,
       " act-order ", s.act_order, " scales ", s.scale_type);
  const TempDir temp;
  const KnownModel model = known_llama(s);
  const ConvertReport report = import_model(model.quantized, temp.path() / "q.gguf", options);
  import_model(model.plain, temp.path() / "f.gguf");
  CHECK(report.verified);
  for (const ConvertedTensor& tensor : report.tensors) {
    CAPTURE(tensor.name);
    CHECK(tensor.exact);
    CHECK(tensor.hash != 0);
  }
  const gguf::File imported = require_ok(gguf::File::open(temp.path() / "q.gguf"));
  const gguf::File plain = require_ok(gguf::File::open(temp.path() / "f.gguf"));
  for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up"})
    CHECK(imported.tensor(std::string("blk.1.") + name + ".weight")->dtype == one.expected);
  check_same_numbers(imported, plain);
  const std::vector<TokenId> tokens{1, 5, 39, 0, 17, 17, 8};
  const std::vector<float> expected = float_logits(temp.path() / "f.gguf", tokens);
  // Only the order of the sums differs.
  CHECK(worst_difference(float_logits(temp.path() / "q.gguf", tokens), expected) < 1e-5);
  // With activations of 8 bits, whose errors the mean of asymmetric groups multiplies: roughly the
  // same, and the same bits from a repacked copy as from the file.
  const std::vector<float> rounded = ModelRunner(imported, {}).run(tokens);
  CHECK(worst_difference(rounded, expected) < 0.2);
  CHECK(rounded == ModelRunner(imported, {.in_place = true}).run(tokens));
}

TEST_CASE("import: GPTQ of both formats, every width, group and order") {
  for (const Packing packing : {Packing::gptq_v1, Packing::gptq_v2}) {
    for (const bool act_order : {false, true}) {
      check_import({{packing, 4, 128, true, act_order}, DType::q4_0});
      check_import({{packing, 4, 32, false, act_order}, DType::i4g32});
      check_import({{packing, 3, 64, false, act_order}, DType::q4_0});
      check_import({{packing, 2, 32, false, act_order}, DType::q4_0});
      check_import({{packing, 8, 32, true, act_order}, DType::q8_0});
    }
    check_import({{packing, 4, 64, false, true}, DType::i4g64});
    check_import({{packing, 4, 128, false}, DType::i4g128});
    check_import({{packing, 4, -1, false}, DType::i4g128});
    check_import({{packing, 4, 64, true, false, "BF16"}, DType::q4_0});
    check_import({{packing, 3, -1, true}, DType::q4_0});
    check_import({{packing, 4, 96, false}, DType::i4g32});  // a last group of 32 columns
    check_import({{packing, 4, 1024, false}, DType::i4g128});
  }
}

TEST_CASE("import: AWQ, its order of nibbles and its padded zero-points") {
  for (const Packing packing : {Packing::awq_gemm, Packing::awq_gemv}) {
    check_import({{packing, 4, 128, false}, DType::i4g128});
    check_import({{packing, 4, 64, false}, DType::i4g64});
    check_import({{packing, 4, 32, false}, DType::i4g32});
  }
}

TEST_CASE("import: compressed-tensors of 2 to 8 bits") {
  for (const bool act_order : {false, true}) {
    check_import({{Packing::packed, 4, 32, true, act_order, "BF16"}, DType::q4_0});
    check_import({{Packing::packed, 4, 64, false, act_order}, DType::i4g64});
  }
  check_import({{Packing::packed, 2, 32, true}, DType::q4_0});
  check_import({{Packing::packed, 3, -1, true}, DType::q4_0});
  check_import({{Packing::packed, 5, 64, true}, DType::q5_0});
  check_import({{Packing::packed, 5, 64, false}, DType::q8_0});
  check_import({{Packing::packed, 6, 32, true}, DType::q8_0});
  check_import({{Packing::packed, 7, 128, false}, DType::q8_0});
  check_import({{Packing::packed, 8, -1, true, false, "BF16"}, DType::q8_0});
  check_import({{Packing::bytes, 8, -1, true, false, "BF16"}, DType::q8_0});
}

TEST_CASE("import: only types that other programs know, where asked") {
  check_import({{Packing::gptq_v1, 4, 128, false}, DType::q5_0}, {.compat = true});
  check_import({{Packing::awq_gemm, 4, 64, false}, DType::q5_0}, {.compat = true});
  check_import({{Packing::gptq_v2, 4, 32, true}, DType::q4_0}, {.compat = true});
}

TEST_CASE("import: what no block type holds is f32 on request, else near and said to be") {
  const Scheme schemes[] = {{Packing::gptq_v2, 8, 32, false},  // differences of 9 bits
                            {Packing::packed, 4, 16, true},    // groups below a block
                            {Packing::packed, 8, -1, false, false}};
  for (const Scheme& scheme : schemes) {
    check_import({scheme, DType::f32}, {.exact = true});
    const TempDir temp;
    const ConvertReport report =
        import_model(known_llama(scheme).quantized, temp.path() / "q.gguf");
    size_t inexact = 0;
    for (const ConvertedTensor& tensor : report.tensors) {
      if (tensor.exact) continue;
      ++inexact;
      CHECK(tensor.type == DType::q8_0);
      CHECK(tensor.largest_error > 0);
      CHECK(tensor.relative_rms_error > 0);
      CHECK(tensor.relative_rms_error < 0.01);
    }
    CHECK(inexact == 14);
  }
}

TEST_CASE("import: scales that f16 rounds keep their integers, and the error is said") {
  const Scheme scheme{Packing::gptq_v2, 4, 32, false, false, "F32"};
  check_import({scheme, DType::f32}, {.exact = true});
  const TempDir temp;
  const ConvertReport report = import_model(known_llama(scheme).quantized, temp.path() / "q.gguf");
  for (const ConvertedTensor& tensor : report.tensors) {
    if (tensor.source.find("gptq") == std::string::npos) continue;
    CHECK(tensor.type == DType::i4g32);
    CHECK_FALSE(tensor.exact);
    CHECK(tensor.relative_rms_error < 1.0 / 2048);  // half a step of f16
  }
}

TEST_CASE("import: without tensors of our own, only what can be folded keeps its order") {
  const TempDir temp;
  const ConvertReport report =
      import_model(known_llama({Packing::gptq_v1, 4, 32, true, true}).quantized,
                   temp.path() / "q.gguf", {.compat = true});
  for (const ConvertedTensor& tensor : report.tensors) {
    CAPTURE(tensor.name);
    CHECK_FALSE(tensor.name.ends_with(".perm"));
    if (tensor.source.find("gptq") == std::string::npos) continue;
    const bool folded = tensor.name.find("ffn_down") != std::string::npos;
    CHECK(tensor.exact == folded);
    CHECK(tensor.type == (folded ? DType::q4_0 : DType::q8_0));
  }
}

TEST_CASE("import: a damaged order of columns is refused when the model is loaded") {
  const TempDir temp;
  import_model(known_llama({Packing::gptq_v1, 4, 32, true, true}).quantized,
               temp.path() / "q.gguf");
  const std::string whole = require_ok(read_file(temp.path() / "q.gguf", 1 << 26));
  Registry registry;
  registry.add(cpu::registry_entry());
  const auto backend = require_ok(registry.open("cpu", {.n_threads = 1, .isa = ""}));
  for (const char* name :
       {"blk.0.attn_norm.perm", "blk.1.attn_output.perm", "blk.0.ffn_norm.perm"}) {
    for (const int32_t column : {-1, 128, INT32_MAX, 3}) {  // 3 is there already, or 4 is
      std::string bytes = whole;
      const auto span = std::as_bytes(std::span(bytes));
      const gguf::File file = require_ok(gguf::File::parse(span));
      const auto at = size_t(file.tensor(name)->bytes.data() - span.data());
      int32_t there = 0;
      std::memcpy(&there, bytes.data() + at, 4);
      const int32_t other = column == 3 && there == 3 ? 4 : column;
      std::memcpy(bytes.data() + at, &other, 4);
      const auto loaded = Model::load(file, *backend, {});
      REQUIRE_FALSE(loaded.ok());
      CHECK(loaded.error().message.find(std::string("expected ") + name +
                                        " to hold each of 0 to 127 once") != std::string::npos);
    }
  }
}

}  // namespace
}  // namespace lm::test
