// llm quantize's job: which type each tensor gets, that the file holds what the encoders make of
// every row, whatever the pieces and threads, and what is refused.
#include "engine/tools/quantize.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "engine/core/file.h"
#include "engine/tools/recipes.h"
#include "engine/tools/shapes.h"
#include "quant/decode.h"
#include "quant/encode.h"
#include "tests/reference/tiny_model.h"
#include "tests/support/support.h"

namespace fs = std::filesystem;

namespace lm::test {
namespace {

using Types = std::map<std::string, DType>;

fs::path save_model(const TempDir& temp, const TinyModel& model) {
  fs::path path = temp.path() / "in.gguf";
  require_ok(write_tiny_model(model).save(path));
  return path;
}

TinyModel wide_llama(DType type = DType::f32) {
  return widened(tiny_model("llama"), type);
}

QuantizeOptions options(const fs::path& in, std::string recipe, int threads = 1) {
  return {.in = in,
          .out = in.parent_path() / "out.gguf",
          .recipe = std::move(recipe),
          .n_threads = threads};
}

Types types_of(const QuantizeReport& report) {
  Types types;
  for (const QuantizedTensor& tensor : report.tensors) types[tensor.name] = tensor.to;
  return types;
}

std::string refusal(QuantizeOptions options) {
  const fs::path out = options.out;
  const Result<QuantizeReport> result = quantize(std::move(options));
  REQUIRE_FALSE(result.ok());
  CHECK_FALSE(fs::exists(out));
  return result.error().message;
}

std::vector<std::byte> encode_rows(const gguf::TensorInfo& from, DType type,
                                   const SliceImportance& importance) {
  const int64_t cols = from.dims[0];
  const int64_t rows = from.dims[1] * from.dims[2];
  std::vector<std::byte> out(row_bytes(type, cols) * size_t(rows));
  std::vector<float> row(static_cast<size_t>(cols));
  for (int64_t r = 0; r < rows; ++r) {
    decode(from.dtype, from.bytes.data() + size_t(r) * row_bytes(from.dtype, cols), row.data(),
           cols);
    encode(type, row, out.data() + size_t(r) * row_bytes(type, cols),
           importance ? importance(r / from.dims[1]) : std::span<const float>());
  }
  return out;
}

// Every tensor of the output is encode() of the input's rows, or the input's own bytes.
void check_contents(const fs::path& in, const fs::path& out, const Imatrix* imatrix = nullptr) {
  const gguf::File before = require_ok(gguf::File::open(in));
  const gguf::File after = require_ok(gguf::File::open(out));
  REQUIRE(before.tensors().size() == after.tensors().size());
  for (const gguf::TensorInfo& to : after.tensors()) {
    CAPTURE(to.name);
    const gguf::TensorInfo* from = before.tensor(to.name);
    REQUIRE(from != nullptr);
    CHECK(from->dims == to.dims);
    const bool copied = from->dtype == to.dtype;
    const auto expected = copied ? std::vector<std::byte>(from->bytes.begin(), from->bytes.end())
                                 : encode_rows(*from, to.dtype, importance_of(imatrix, *from));
    CHECK(std::ranges::equal(to.bytes, expected));
  }
}

TEST_CASE("quantize: every type that can be written, with the same bytes on any threads") {
  const TempDir temp;
  TinyModel model = wide_llama();
  model.n_layers = 1;
  const fs::path in = save_model(temp, model);
  for (const std::string_view recipe : recipe_names()) {
    if (!can_write_recipe(recipe)) continue;
    CAPTURE(recipe);
    const QuantizeOptions asked = options(in, std::string(recipe));
    const QuantizeReport report = require_ok(quantize(options(in, std::string(recipe))));
    const std::string bytes = require_ok(read_file(asked.out, 1 << 30));
    // Mixtures are of the same blocks: their middle ones speak for the others.
    const bool speaks = !recipe.ends_with("_S") && !recipe.ends_with("_L");
    if (speaks) {
      check_contents(in, asked.out);
      require_ok(quantize(options(in, std::string(recipe), 3)));
      CHECK(require_ok(read_file(asked.out, 1 << 30)) == bytes);
    }
    CHECK(types_of(require_ok(plan_quantize(asked))) == types_of(report));
    const gguf::File file = require_ok(gguf::File::open(asked.out));
    CHECK(require_ok(file.u32("general.quantization_version")) == 2);
  }
}

TEST_CASE("quantize: pieces end where rows do not, and experts have their own importance") {
  const TempDir temp;
  TinyModel model = widened(tiny_model("qwen3moe"), DType::bf16);
  model.d_model = 768;  // 65536 is no multiple of it
  model.d_ff = 512;
  const fs::path in = save_model(temp, model);
  const gguf::File file = require_ok(gguf::File::open(in));
  Imatrix imatrix;
  Random random(3);
  for (const gguf::TensorInfo& tensor : file.tensors()) {
    if (!tensor.name.starts_with("blk.") || tensor.n_dims < 2) continue;
    ImatrixEntry entry;
    for (int64_t i = 0; i < tensor.dims[0] * tensor.dims[2]; ++i)
      entry.mean_squares.push_back(random.uniform(0.01f, 4));
    for (int64_t i = 0; i < tensor.dims[2]; ++i) entry.counts.push_back(i == 1 ? 0.0f : 10.0f);
    imatrix.entries[std::string(tensor.name)] = entry;
  }
  require_ok(write_imatrix(imatrix, temp.path() / "importance.gguf"));
  const Imatrix stored = require_ok(read_imatrix(temp.path() / "importance.gguf"));
  QuantizeOptions asked = options(in, "q4_K_S", 2);
  asked.imatrix = temp.path() / "importance.gguf";
  const fs::path out = asked.out;
  const QuantizeReport report = require_ok(quantize(std::move(asked)));
  CHECK(std::ranges::any_of(report.tensors, [](const auto& tensor) { return tensor.weighted; }));
  check_contents(in, out, &stored);
  const gguf::File written = require_ok(gguf::File::open(out));
  CHECK(require_ok(written.str("quantize.imatrix.file")) == "importance.gguf");
}

TEST_CASE("quantize: mixtures are those of the field") {
  const ModelShape* shape = require_ok(find_shape("llama3.2-1b"));
  const auto type = [&](const char* recipe, const std::string& name) {
    for (const ShapeTensor& tensor : require_ok(make_tensors(*shape, recipe)))
      if (tensor.name == name) return tensor.dtype;
    FAIL("no tensor ", name);
    return DType::f32;
  };
  // 16 layers, 4 heads to a KV head; as llama-quantize lists them for Llama-3.2-1B.
  for (const int layer : {0, 1, 4, 7, 10, 13, 14, 15}) {
    const std::string blk = "blk." + std::to_string(layer);
    CHECK(type("q4_K_M", blk + ".attn_v.weight") == DType::q6_K);
    CHECK(type("q4_K_M", blk + ".ffn_down.weight") == DType::q6_K);
  }
  CHECK(type("q4_K_M", "blk.2.attn_v.weight") == DType::q4_K);
  CHECK(type("q4_K_M", "blk.2.attn_q.weight") == DType::q4_K);
  CHECK(type("q4_K_M", "token_embd.weight") == DType::q6_K);  // tied
  CHECK(type("q4_K_S", "blk.3.attn_v.weight") == DType::q5_K);
  CHECK(type("q4_K_S", "blk.4.attn_v.weight") == DType::q4_K);
  CHECK(type("q3_K_M", "blk.0.ffn_down.weight") == DType::q5_K);
  CHECK(type("q3_K_M", "blk.1.ffn_down.weight") == DType::q4_K);
  CHECK(type("q3_K_L", "blk.9.attn_output.weight") == DType::q5_K);
  CHECK(type("q2_K", "blk.5.attn_v.weight") == DType::q4_K);
  CHECK(type("q2_K_S", "blk.1.ffn_down.weight") == DType::q4_K);
  CHECK(type("q2_K_S", "blk.2.ffn_down.weight") == DType::q2_K);
  CHECK(type("iq4_xs", "blk.0.attn_v.weight") == DType::q5_K);
}

TEST_CASE("quantize: rows that no block divides get smaller blocks, at last f16") {
  CHECK(dividing_type(DType::q4_K, 256) == DType::q4_K);
  CHECK(dividing_type(DType::q4_K, 96) == DType::q5_0);
  CHECK(dividing_type(DType::q5_K, 96) == DType::q5_1);
  CHECK(dividing_type(DType::q6_K, 96) == DType::q8_0);
  CHECK(dividing_type(DType::q2_K, 96) == DType::iq4_NL);
  CHECK(dividing_type(DType::iq4_XS, 96) == DType::iq4_NL);
  CHECK(dividing_type(DType::i4g128, 192) == DType::i4g64);
  CHECK(dividing_type(DType::i4g128, 96) == DType::i4g32);
  for (const DType type : {DType::q4_K, DType::q8_0, DType::mxfp4, DType::i4g64, DType::q4_0})
    CHECK(dividing_type(type, 20) == DType::f16);
  const TempDir temp;
  const fs::path in = save_model(temp, tiny_model("llama"));  // odd sizes
  const QuantizeReport report = require_ok(quantize(options(in, "q4_K_M")));
  CHECK(types_of(report).at("blk.0.attn_q.weight") == DType::f16);
  CHECK(report.notes.size() == 1);
  check_contents(in, options(in, "").out);
}

TEST_CASE("quantize: overrides, the head, and blocks that would be rounded twice") {
  const TempDir temp;
  const fs::path in = save_model(temp, wide_llama(DType::f16));
  QuantizeOptions asked = options(in, "q4_0");
  asked.keep_head = true;
  asked.overrides = {{"ffn_(up|down)", DType::q5_0},
                     {"^blk\\.1\\..*down", DType::q8_0},
                     {"no such name", DType::f32},
                     {"norm", DType::q8_0}};  // vectors stay
  const QuantizeReport report = require_ok(plan_quantize(asked));
  const Types types = types_of(report);
  CHECK(types.at("output.weight") == DType::f16);
  CHECK(types.at("blk.0.ffn_down.weight") == DType::q5_0);
  CHECK(types.at("blk.1.ffn_down.weight") == DType::q8_0);
  CHECK(types.at("blk.1.ffn_up.weight") == DType::q5_0);
  CHECK(types.at("blk.1.attn_q.weight") == DType::q4_0);
  CHECK(types.at("blk.1.attn_norm.weight") == DType::f32);
  REQUIRE(report.notes.size() == 2);
  CHECK(report.notes[0].find("no such name") != std::string::npos);
  CHECK(report.notes[1].find("norm") != std::string::npos);

  // An expert's bias is a row of a matrix.
  QuantizeOptions experts = options(save_model(temp, tiny_model("gpt-oss")), "f32");
  experts.overrides = {{"exps", DType::f16}};
  const Types expert_types = types_of(require_ok(plan_quantize(experts)));
  CHECK(expert_types.at("blk.0.ffn_down_exps.weight") == DType::f16);
  CHECK(expert_types.at("blk.0.ffn_down_exps.bias") == DType::f32);
  save_model(temp, wide_llama(DType::f16));

  const fs::path blocks = temp.path() / "blocks.gguf";
  QuantizeOptions first = options(in, "q8_0");
  first.out = blocks;
  require_ok(quantize(std::move(first)));
  CHECK(refusal(options(blocks, "q4_0")).find("rounded a second time") != std::string::npos);
  QuantizeOptions again = options(blocks, "q4_0");
  again.allow_requantize = true;
  require_ok(quantize(std::move(again)));
  check_contents(blocks, options(blocks, "").out);
  require_ok(quantize(options(blocks, "q8_0")));  // nothing changes: nothing is lost
}

TEST_CASE("quantize: what is refused leaves nothing") {
  const TempDir temp;
  const fs::path in = save_model(temp, wide_llama());
  CHECK(refusal(options(in, "q9_Z")).find("expected a type") == 0);
  CHECK(refusal(options(in, "iq2_xs")).find("can be written") != std::string::npos);
  QuantizeOptions bad = options(in, "q4_0");
  bad.overrides = {{"(unclosed", DType::q8_0}};
  CHECK(refusal(std::move(bad)).find("regular expression") != std::string::npos);
  QuantizeOptions integers = options(in, "q4_0");
  integers.overrides = {{"attn_q", DType::i32}};
  CHECK(refusal(std::move(integers)).find("can be written") != std::string::npos);
  CHECK(refusal(options(temp.path() / "absent.gguf", "q4_0")).find("absent.gguf") !=
        std::string::npos);
  QuantizeOptions lost = options(in, "q4_0");
  lost.imatrix = temp.path() / "absent.dat";
  CHECK(refusal(std::move(lost)).find("absent.dat") != std::string::npos);
  int asked = 0;
  QuantizeOptions stopping = options(in, "q4_0");
  stopping.stop = [&] { return ++asked > 3; };
  CHECK(refusal(std::move(stopping)).find("stopped") != std::string::npos);
  QuantizeOptions same = options(in, "q4_0");
  same.out = in;
  CHECK_FALSE(plan_quantize(same).ok());
  CHECK_FALSE(quantize(std::move(same)).ok());
  for (const bool by_name : {true, false}) {  // what was read beside the model is not overwritten
    const fs::path text = temp.path() / "text", link = temp.path() / "link";
    Imatrix imatrix;
    imatrix.entries["x"] = {{1}, {1}};
    require_ok(write_imatrix(imatrix, text));
    fs::create_hard_link(text, link);
    QuantizeOptions over = options(in, "q4_0");
    over.out = by_name ? text : link;
    over.imatrix = by_name ? text : fs::path();
    over.also_read = {text};
    const Result<QuantizeReport> result = quantize(std::move(over));
    REQUIRE_FALSE(result.ok());
    CHECK(result.error().message.find("apart from the input") != std::string::npos);
    fs::remove(text);
    fs::remove(link);
  }
  CHECK(require_ok(gguf::File::open(in)).tensors().size() > 0);
  CHECK(std::distance(fs::directory_iterator(temp.path()), {}) == 1);
}

TEST_CASE("quantize: a search that never ends finds nothing") {
  const TempDir temp;
  const fs::path in = save_model(temp, wide_llama());
  QuantizeOptions slow = options(in, "q8_0");
  slow.overrides = {{"((((a*)*)*)*)*$x|(.*.*.*.*.*.*.*.*)*y", DType::f32}};
  CHECK(require_ok(plan_quantize(slow)).notes.size() == 1);
}

}  // namespace
}  // namespace lm::test
