// What happens to tensors on their way into a GGUF: order, format, names, refusals.
#include <cmath>

#include "quant/half.h"
#include "tests/tools/hf_folder.h"

namespace fs = std::filesystem;

namespace lm::test {
namespace {

gguf::File convert_ok(const TempDir& temp, const HfFolder& folder, std::optional<DType> type = {},
                      ConvertReport* report = nullptr) {
  const fs::path out = temp.path() / "out.gguf";
  ConvertReport made = require_ok(folder.convert_to(out, type));
  if (report != nullptr) *report = std::move(made);
  return require_ok(gguf::File::open(out));
}

std::string refusal(const HfFolder& folder, bool vocab = false) {
  const TempDir temp;
  const fs::path out = temp.path() / "out.gguf";
  const Result<ConvertReport> result = folder.convert_to(out, {}, vocab);
  REQUIRE_FALSE(result.ok());
  CHECK_FALSE(fs::exists(out));
  CHECK(result.error().message.find('\n') == std::string::npos);
  return result.error().message;
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("names, order and dimensions") {
  const TempDir temp;
  HfFolder folder = tiny_llama();
  const std::vector<float> up = folder.add("model.layers.0.mlp.up_proj.weight", {12, 8}, 2);
  const gguf::File file = convert_ok(temp, folder);
  CHECK(file.tensors().size() == folder.tensors.size());
  CHECK(numbers_of(file, "blk.0.ffn_up.weight") == up);
  const gguf::TensorInfo* info = file.tensor("blk.0.ffn_up.weight");
  CHECK(info->n_dims == 2);
  CHECK(info->dims[0] == 8);
  CHECK(info->dims[1] == 12);
  CHECK(require_ok(file.u32("llama.attention.key_length")) == 4);
  CHECK(require_ok(file.u32("llama.rope.dimension_count")) == 4);
  CHECK(require_ok(file.str("general.architecture")) == "llama");
}

TEST_CASE("llama's rope pairs neighbours: rows and biases of q and k change places") {
  const TempDir temp;
  HfFolder folder = tiny_llama();
  const std::vector<float> q = folder.add("model.layers.0.self_attn.q_proj.weight", {8, 8}, 3);
  const std::vector<float> bias = folder.add("model.layers.0.self_attn.q_proj.bias", {8});
  const gguf::File file = convert_ok(temp, folder);
  const std::vector<float> got = numbers_of(file, "blk.0.attn_q.weight");
  const std::vector<float> got_bias = numbers_of(file, "blk.0.attn_q.bias");
  constexpr size_t kFrom[] = {0, 2, 1, 3, 4, 6, 5, 7};  // two heads of 4
  for (size_t row = 0; row < 8; ++row) {
    CHECK(got_bias[row] == bias[kFrom[row]]);
    for (size_t c = 0; c < 8; ++c) CHECK(got[row * 8 + c] == q[kFrom[row] * 8 + c]);
  }
  CHECK(file.tensor("blk.0.attn_q.bias")->n_dims == 1);
}

TEST_CASE("formats: as stored, or as asked; small tensors stay f32") {
  HfFolder folder = tiny_llama();
  std::string& bytes = folder.tensors["model.layers.0.mlp.up_proj.weight"].bytes;
  std::string halves;
  for (size_t i = 0; i < 96; ++i) {
    const uint16_t half = f32_to_bf16(float(i) - 48);
    halves.append(reinterpret_cast<const char*>(&half), 2);
  }
  bytes = halves;
  folder.tensors["model.layers.0.mlp.up_proj.weight"].type = "BF16";
  const TempDir temp;
  {
    const gguf::File file = convert_ok(temp, folder);
    CHECK(file.tensor("blk.0.ffn_up.weight")->dtype == DType::bf16);
    CHECK(file.tensor("blk.0.ffn_gate.weight")->dtype == DType::f32);
    CHECK(numbers_of(file, "blk.0.ffn_up.weight")[95] == 47);
  }
  {
    const gguf::File file = convert_ok(temp, folder, DType::f16);
    CHECK(file.tensor("blk.0.ffn_up.weight")->dtype == DType::f16);
    CHECK(file.tensor("blk.0.attn_norm.weight")->dtype == DType::f32);
    CHECK(numbers_of(file, "blk.0.ffn_up.weight")[0] == -48);
    CHECK(require_ok(file.u32("general.file_type")) == 1);
  }
  ConvertReport report;  // rows of 8 are no blocks of 32
  const gguf::File file = convert_ok(temp, folder, DType::q8_0, &report);
  CHECK(file.tensor("blk.0.ffn_up.weight")->dtype == DType::f16);
  REQUIRE(report.notes.size() == 1);
  CHECK(contains(report.notes[0], "q8_0"));
}

TEST_CASE("a type that cannot be written is refused") {
  const TempDir temp;
  const auto result = tiny_llama().convert_to(temp.path() / "out.gguf", DType::q8_1);
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().code == ErrorCode::bad_request);
}

TEST_CASE("tied embeddings, whichever name holds them") {
  const TempDir temp;
  HfFolder both = tiny_llama();
  both.config["tie_word_embeddings"] = true;
  CHECK(convert_ok(temp, both).tensor("output.weight") != nullptr);  // they differ: both are kept

  both.tensors["lm_head.weight"] = both.tensors["model.embed_tokens.weight"];
  CHECK(convert_ok(temp, both).tensor("output.weight") == nullptr);

  HfFolder head_only = both;
  head_only.tensors.erase("model.embed_tokens.weight");
  CHECK(convert_ok(temp, head_only).tensor("token_embd.weight") != nullptr);

  head_only.config["tie_word_embeddings"] = false;
  CHECK(contains(refusal(head_only), "model.embed_tokens.weight"));
  head_only.metadata = R"({"model.embed_tokens.weight": "lm_head.weight"})";
  CHECK(convert_ok(temp, head_only).tensor("output.weight") == nullptr);

  HfFolder untied = tiny_llama();
  untied.tensors.erase("lm_head.weight");
  CHECK(contains(refusal(untied), "lm_head.weight"));
}

TEST_CASE("nothing is dropped silently") {
  HfFolder folder = tiny_llama();
  folder.add("model.layers.0.self_attn.rotary_emb.inv_freq", {2});
  const TempDir temp;
  convert_ok(temp, folder);  // known to be needless
  HfFolder more = folder;
  more.add("model.layers.0.self_attn.q_norm.weight", {4});
  CHECK(contains(refusal(more), "model.layers.0.self_attn.q_norm.weight"));
  more = folder;
  more.add("model.layers.1.self_attn.q_proj.weight", {8, 8});
  CHECK(contains(refusal(more), "model.layers.1.self_attn.q_proj.weight"));
  HfFolder less = folder;
  less.tensors.erase("model.layers.0.mlp.up_proj.weight");
  CHECK(contains(refusal(less), "model.layers.0.mlp.up_proj.weight"));
  HfFolder bent = folder;
  bent.add("model.layers.0.mlp.up_proj.weight", {8, 12});
  CHECK(contains(refusal(bent), "expected shape [12, 8] as config.json says, found [8, 12]"));
  HfFolder integers = folder;
  integers.tensors["model.norm.weight"].type = "I32";
  CHECK(contains(refusal(integers), "expected F32, F16 or BF16, found I32"));
}

// gpt-oss with experts as the Hub has them: MXFP4 blocks, gate and up interleaved.
TEST_CASE("MXFP4 experts keep every number") {
  constexpr int64_t kExperts = 2, kModel = 64, kFf = 32;
  HfFolder folder;
  folder.config = {{"architectures", {"GptOssForCausalLM"}},
                   {"hidden_size", kModel},
                   {"intermediate_size", kFf},
                   {"num_hidden_layers", 1},
                   {"num_attention_heads", 2},
                   {"num_key_value_heads", 1},
                   {"head_dim", 8},
                   {"vocab_size", 5},
                   {"max_position_embeddings", 64},
                   {"rms_norm_eps", 1e-5},
                   {"num_local_experts", kExperts},
                   {"num_experts_per_tok", 1},
                   {"sliding_window", 4},
                   {"quantization_config", {{"quant_method", "mxfp4"}}}};
  folder.add("model.embed_tokens.weight", {5, kModel});
  folder.add("lm_head.weight", {5, kModel});
  folder.add("model.norm.weight", {kModel});
  const std::string layer = "model.layers.0.";
  for (const char* norm : {"input_layernorm.weight", "post_attention_layernorm.weight"})
    folder.add(layer + norm, {kModel});
  for (const auto& [name, rows] :
       {std::pair("q_proj", 16), std::pair("k_proj", 8), std::pair("v_proj", 8)}) {
    folder.add(layer + "self_attn." + name + ".weight", {rows, kModel});
    folder.add(layer + "self_attn." + name + ".bias", {rows});
  }
  folder.add(layer + "self_attn.o_proj.weight", {kModel, 16});
  folder.add(layer + "self_attn.o_proj.bias", {kModel});
  folder.add(layer + "self_attn.sinks", {2});
  folder.add(layer + "mlp.router.weight", {kExperts, kModel});
  folder.add(layer + "mlp.router.bias", {kExperts});
  const std::vector<float> gate_up_bias =
      folder.add(layer + "mlp.experts.gate_up_proj_bias", {kExperts, 2 * kFf});
  folder.add(layer + "mlp.experts.down_proj_bias", {kExperts, kModel});

  // Numbers as the format defines them: 4-bit e2m1 times 2^(scale - 127).
  Random random(5);
  std::map<std::string, std::vector<float>> truth;
  for (const auto& [name, rows, cols] :
       {std::tuple("gate_up_proj", 2 * kFf, kModel), std::tuple("down_proj", kModel, kFf)}) {
    constexpr float kE2m1[] = {0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
                               -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    std::string blocks, scales;
    for (int64_t group = 0; group < kExperts * rows * cols / 32; ++group) {
      const auto scale = int(120 + random.below(14));
      scales.push_back(char(scale));
      for (int i = 0; i < 16; ++i) {
        const auto byte = unsigned(random.below(256));
        blocks.push_back(char(byte));
        truth[name].push_back(std::ldexp(kE2m1[byte & 15], scale - 127));
        truth[name].push_back(std::ldexp(kE2m1[byte >> 4], scale - 127));
      }
    }
    folder.set_bytes(layer + "mlp.experts." + name + "_blocks", {kExperts, rows, cols / 32, 16},
                     blocks);
    folder.set_bytes(layer + "mlp.experts." + name + "_scales", {kExperts, rows, cols / 32},
                     scales);
  }
  const TempDir temp;
  const gguf::File file = convert_ok(temp, folder);
  CHECK(file.tensor("blk.0.ffn_gate_exps.weight")->dtype == DType::mxfp4);
  CHECK(numbers_of(file, "blk.0.ffn_down_exps.weight") == truth["down_proj"]);
  const std::vector<float> gate = numbers_of(file, "blk.0.ffn_gate_exps.weight"),
                           up = numbers_of(file, "blk.0.ffn_up_exps.weight");
  const std::vector<float> gate_bias = numbers_of(file, "blk.0.ffn_gate_exps.bias"),
                           up_bias = numbers_of(file, "blk.0.ffn_up_exps.bias");
  REQUIRE(gate.size() == size_t(kExperts * kFf * kModel));
  for (size_t row = 0; row < size_t(kExperts * kFf); ++row) {
    CHECK(gate_bias[row] == gate_up_bias[2 * row]);
    CHECK(up_bias[row] == gate_up_bias[2 * row + 1]);
    for (size_t c = 0; c < size_t(kModel); ++c) {
      REQUIRE(gate[row * kModel + c] == truth["gate_up_proj"][2 * row * kModel + c]);
      REQUIRE(up[row * kModel + c] == truth["gate_up_proj"][(2 * row + 1) * kModel + c]);
    }
  }
  HfFolder lost = folder;
  lost.tensors.erase(layer + "mlp.experts.down_proj_scales");
  CHECK(contains(refusal(lost), "down_proj_scales"));
  const gguf::File plain = convert_ok(temp, folder, DType::f32);
  CHECK(plain.tensor("blk.0.ffn_gate_exps.weight")->dtype == DType::f32);
  CHECK(numbers_of(plain, "blk.0.ffn_gate_exps.weight") == gate);
}

TEST_CASE("the text model beside a vision tower") {
  HfFolder folder;
  folder.config = {{"architectures", {"Gemma3ForConditionalGeneration"}},
                   {"text_config",
                    {{"hidden_size", 8},
                     {"intermediate_size", 12},
                     {"num_hidden_layers", 1},
                     {"num_attention_heads", 2},
                     {"num_key_value_heads", 1},
                     {"head_dim", 6},
                     {"vocab_size", 5},
                     {"sliding_window", 4},
                     {"query_pre_attn_scalar", 12},
                     {"rope_scaling", {{"rope_type", "linear"}, {"factor", 8}}}}}};
  const std::string model = "language_model.model.", layer = model + "layers.0.";
  folder.add(model + "embed_tokens.weight", {5, 8});
  const std::vector<float> norm = folder.add(model + "norm.weight", {8});
  for (const char* name : {"input_layernorm", "post_attention_layernorm",
                           "pre_feedforward_layernorm", "post_feedforward_layernorm"}) {
    folder.add(layer + name + ".weight", {8});
  }
  for (const auto& [name, rows, cols] :
       {std::tuple("self_attn.q_proj", 12, 8), std::tuple("self_attn.k_proj", 6, 8),
        std::tuple("self_attn.v_proj", 6, 8), std::tuple("self_attn.o_proj", 8, 12),
        std::tuple("mlp.gate_proj", 12, 8), std::tuple("mlp.up_proj", 12, 8),
        std::tuple("mlp.down_proj", 8, 12)}) {
    folder.add(layer + name + ".weight", {rows, cols});
  }
  folder.add(layer + "self_attn.q_norm.weight", {6});
  folder.add(layer + "self_attn.k_norm.weight", {6});
  folder.add("vision_tower.patch.weight", {3, 3});
  const TempDir temp;
  ConvertReport report;
  const gguf::File file = convert_ok(temp, folder, {}, &report);
  REQUIRE(report.notes.size() == 1);
  CHECK(contains(report.notes[0], "vision"));
  const std::vector<float> got = numbers_of(file, "output_norm.weight");
  for (size_t i = 0; i < 8; ++i) CHECK(got[i] == norm[i] + 1);
  CHECK(file.tensor("output.weight") == nullptr);
  CHECK(require_ok(file.u32("gemma3.context_length")) == 131072);  // what the config leaves unsaid
  CHECK(require_ok(file.f32("gemma3.rope.freq_base")) == 1e6f);
  CHECK(require_ok(file.f32("gemma3.rope.freq_base_swa")) == 1e4f);
  CHECK(require_ok(file.u32("gemma3.attention.sliding_window_pattern")) == 6);
  CHECK(require_ok(file.f32("gemma3.attention.scale")) == doctest::Approx(1 / std::sqrt(12.0)));
}

TEST_CASE("progress ends at the total") {
  const TempDir temp;
  const fs::path folder = temp.path() / "in";
  tiny_llama().save(folder);
  uint64_t last = 0, all = 0;
  const auto report = require_ok(convert({.in = folder,
                                          .out = temp.path() / "out.gguf",
                                          .type = {},
                                          .vocab = false,
                                          .progress = [&](uint64_t done, uint64_t total) {
                                            CHECK(done > last);
                                            last = done, all = total;
                                          }}));
  CHECK(last == all);
  CHECK(all == report.tensor_bytes);
  CHECK(report.n_parameters == 680);
}

}  // namespace
}  // namespace lm::test
