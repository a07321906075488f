// What was imported goes back as it came; what was not is exact where blocks hold integers.
#include "engine/tools/export.h"

#include <algorithm>
#include <cmath>
#include <fstream>

#include "gguf/safetensors.h"
#include "tests/reference/tiny_model.h"
#include "tests/tools/float_logits.h"
#include "tests/tools/known_matrix.h"

namespace fs = std::filesystem;

namespace lm::test {
namespace {

ConvertReport import_folder(const fs::path& in, const fs::path& out, bool vocab = false) {
  return require_ok(convert({.in = in, .out = out, .vocab = vocab, .verify = true}));
}

std::vector<uint64_t> hashes(const ConvertReport& report) {
  std::vector<uint64_t> all;
  for (const ConvertedTensor& tensor : report.tensors) all.push_back(tensor.hash);
  return all;
}

std::string refusal(const fs::path& in, const fs::path& out) {
  const Result<ExportReport> result = export_hf_gptq({.in = in, .out = out});
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().message.find('\n') == std::string::npos);
  return result.error().message;
}

// Imports, exports, imports again: the module's tensors and the file are the same bytes.
void check_round_trip(const Scheme& scheme) {
  INFO("bits ", scheme.bits, " group ", scheme.group, " sym ", scheme.symmetric, " act-order ",
       scheme.act_order, " packing ", int(scheme.packing));
  const TempDir temp;
  const KnownModel model = known_llama(scheme);
  const fs::path first = temp.path() / "first", second = temp.path() / "second";
  model.quantized.save(first);
  const ConvertReport imported = import_folder(first, temp.path() / "first.gguf");
  const ExportReport exported =
      require_ok(export_hf_gptq({.in = temp.path() / "first.gguf", .out = second}));
  for (const ExportedTensor& tensor : exported.tensors) {
    CAPTURE(tensor.name);
    CHECK(tensor.exact);
  }
  const auto file = require_ok(safetensors::File::open(second));
  Scheme v2 = scheme;
  v2.packing = Packing::gptq_v2;
  const KnownModel expected = known_llama(v2);
  for (const auto& [name, tensor] : expected.quantized.tensors) {
    if (name.ends_with(".bias")) continue;  // of zeros
    CAPTURE(name);
    const safetensors::TensorInfo* got = file.tensor(name);
    REQUIRE(got != nullptr);
    CHECK(got->shape == tensor.shape);
    const std::string bytes(reinterpret_cast<const char*>(got->bytes.data()), got->bytes.size());
    if (scheme.scale_type == "F16" || !name.ends_with(".scales")) CHECK(bytes == tensor.bytes);
  }
  const ConvertReport again = import_folder(second, temp.path() / "second.gguf");
  CHECK(hashes(again) == hashes(imported));
}

TEST_CASE("export: a GPTQ checkpoint comes back bit for bit") {
  for (const Packing packing : {Packing::gptq_v1, Packing::gptq_v2}) {
    for (const bool act_order : {false, true}) {
      check_round_trip({packing, 4, 128, true, act_order});
      check_round_trip({packing, 4, 32, false, act_order});
      check_round_trip({packing, 8, 64, true, act_order});
      check_round_trip({packing, 3, 64, true, act_order});
      check_round_trip({packing, 2, 32, true, act_order});
    }
    check_round_trip({packing, 4, -1, false});
    check_round_trip({packing, 4, 64, true, false, "BF16"});
  }
}

TEST_CASE("export: AWQ and compressed-tensors become GPTQ with the same integers") {
  check_round_trip({Packing::awq_gemm, 4, 64, false});
  check_round_trip({Packing::awq_gemv, 4, 128, false});
  check_round_trip({Packing::packed, 4, 32, false, true});
  check_round_trip({Packing::packed, 8, -1, true});
}

TEST_CASE("export: integers whose zero-points were not kept are the same numbers") {
  for (const Scheme& scheme : {Scheme{Packing::gptq_v2, 3, 64, false, true},
                               Scheme{Packing::gptq_v1, 2, 32, false, false}}) {
    const TempDir temp;
    known_llama(scheme).quantized.save(temp.path() / "first");
    const ConvertReport imported = import_folder(temp.path() / "first", temp.path() / "1.gguf");
    require_ok(export_hf_gptq({.in = temp.path() / "1.gguf", .out = temp.path() / "second"}));
    const ConvertReport again = import_folder(temp.path() / "second", temp.path() / "2.gguf");
    CHECK(hashes(again) == hashes(imported));
  }
}

TEST_CASE("export: a model that nothing was imported for") {
  struct Case {
    DType type;
    bool exact;
    size_t n_modules;
  };
  for (const Case one : {Case{DType::q4_0, true, 14}, Case{DType::i4g128, true, 14},
                         Case{DType::f16, true, 0}, Case{DType::q6_K, false, 0}}) {
    CAPTURE(std::string(dtype_name(one.type)));
    const TempDir temp;
    TinyModel tiny = widened(tiny_model("llama"), one.type);
    tiny.n_layers = 2;
    require_ok(write_tiny_model(tiny).save(temp.path() / "in.gguf"));
    const ExportReport report =
        require_ok(export_hf_gptq({.in = temp.path() / "in.gguf", .out = temp.path() / "folder"}));
    const auto n_modules = std::ranges::count_if(report.tensors, [](const ExportedTensor& tensor) {
      return tensor.format.starts_with("gptq");
    });
    CHECK(size_t(n_modules) == one.n_modules);
    for (const ExportedTensor& tensor : report.tensors) {
      const bool matrix = tensor.name.find("proj") != std::string::npos;
      if (matrix) CHECK(tensor.exact == one.exact);
      if (!tensor.exact) CHECK(tensor.relative_rms_error > 0);
      if (!tensor.exact) CHECK(tensor.relative_rms_error < 1e-3);
    }
    // Its vocabulary too: the folder is a model that converts as it is.
    const ConvertReport again =
        import_folder(temp.path() / "folder", temp.path() / "out.gguf", true);
    const gguf::File before = require_ok(gguf::File::open(temp.path() / "in.gguf"));
    const gguf::File after = require_ok(gguf::File::open(temp.path() / "out.gguf"));
    CHECK(require_ok(before.strs("tokenizer.ggml.tokens")) ==
          require_ok(after.strs("tokenizer.ggml.tokens")));
    CHECK(require_ok(before.f32s("tokenizer.ggml.scores")) ==
          require_ok(after.f32s("tokenizer.ggml.scores")));
    CHECK(require_ok(before.i32s("tokenizer.ggml.token_type")) ==
          require_ok(after.i32s("tokenizer.ggml.token_type")));
    if (!one.exact) continue;
    for (const gguf::TensorInfo& info : before.tensors()) {
      CAPTURE(info.name);
      const bool table = info.name == "token_embd.weight" || info.name == "output.weight";
      if (table && one.type != DType::f16) continue;  // plain in GPTQ checkpoints: f16
      CHECK(numbers_of(after, info.name) == numbers_of(before, info.name));
    }
    for (const char* key : {"llama.attention.layer_norm_rms_epsilon", "llama.rope.freq_base"}) {
      if (before.value(key) != nullptr)
        CHECK(require_ok(after.f32(key)) == require_ok(before.f32(key)));
    }
  }
}

// One layer of another family, its linear layers as integers.
KnownModel known_family(const std::string& family, const Scheme& scheme) {
  constexpr int64_t kModel = 64, kFf = 96, kVocab = 32;
  KnownModel model;
  HfFolder& f = model.plain;
  f.config = {{"architectures", {family}},
              {"hidden_size", kModel},
              {"intermediate_size", kFf},
              {"num_hidden_layers", 1},
              {"num_attention_heads", 2},
              {"num_key_value_heads", 1},
              {"head_dim", 32},
              {"vocab_size", kVocab},
              {"max_position_embeddings", 64},
              {"rms_norm_eps", 1e-5},
              {"tie_word_embeddings", false}};
  for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"})
    f.add(name, {kVocab, kModel});
  f.add("model.norm.weight", {kModel});
  const std::string layer = "model.layers.0.";
  f.add(layer + "input_layernorm.weight", {kModel});
  f.add(layer + "post_attention_layernorm.weight", {kModel});
  f.add(layer + "self_attn.o_proj.weight", {kModel, 64});
  if (family == "Phi3ForCausalLM") {
    f.add(layer + "self_attn.qkv_proj.weight", {128, kModel});
    f.add(layer + "mlp.gate_up_proj.weight", {2 * kFf, kModel});
  } else {
    f.add(layer + "self_attn.q_proj.weight", {64, kModel});
    f.add(layer + "self_attn.k_proj.weight", {32, kModel});
    f.add(layer + "self_attn.v_proj.weight", {32, kModel});
  }
  if (family == "Qwen2ForCausalLM") {
    for (const auto& [name, n] : {std::pair{"q", 64}, std::pair{"k", 32}, std::pair{"v", 32}})
      f.add(layer + "self_attn." + name + "_proj.bias", {n});
  }
  if (family == "MixtralForCausalLM") {
    f.config["num_local_experts"] = 3;
    f.config["num_experts_per_tok"] = 2;
    f.add(layer + "block_sparse_moe.gate.weight", {3, kModel});
    for (int e = 0; e < 3; ++e) {
      const std::string expert = layer + "block_sparse_moe.experts." + std::to_string(e) + ".";
      f.add(expert + "w1.weight", {kFf, kModel});
      f.add(expert + "w3.weight", {kFf, kModel});
      f.add(expert + "w2.weight", {kModel, kFf});
    }
  } else if (family != "Phi3ForCausalLM") {
    f.add(layer + "mlp.gate_proj.weight", {kFf, kModel});
    f.add(layer + "mlp.up_proj.weight", {kFf, kModel});
  }
  if (family != "MixtralForCausalLM") f.add(layer + "mlp.down_proj.weight", {kModel, kFf});
  quantize_modules(model, scheme);
  return model;
}

TEST_CASE("families: fused, biased and expert matrices run as imported and come back") {
  for (const char* family :
       {"Phi3ForCausalLM", "Qwen2ForCausalLM", "MixtralForCausalLM", "MistralForCausalLM"}) {
    for (const bool act_order : {false, true}) {
      INFO(family, " act-order ", act_order);
      const bool experts = std::string(family) == "MixtralForCausalLM";
      const TempDir temp;
      const KnownModel model = known_family(family, {Packing::gptq_v2, 4, 32, false, act_order});
      model.quantized.save(temp.path() / "q");
      model.plain.save(temp.path() / "f");
      const ConvertReport imported = import_folder(temp.path() / "q", temp.path() / "q.gguf");
      import_folder(temp.path() / "f", temp.path() / "f.gguf");
      size_t inexact = 0;
      for (const ConvertedTensor& tensor : imported.tensors) inexact += tensor.exact ? 0 : 1;
      // Each expert has an order of its own, and all read one input.
      CHECK(inexact == (experts && act_order ? 2 : 0));
      const auto logits = [&](const char* name) {
        return float_logits(temp.path() / name, {1, 30, 7, 7, 2});
      };
      const std::vector<float> got = logits("q.gguf"), want = logits("f.gguf");
      const double largest = double(*std::ranges::max_element(want));
      const double tolerance = inexact == 0 ? 1e-5 : 0.05;
      for (size_t i = 0; i < got.size(); ++i)
        REQUIRE(std::abs(double(got[i]) - double(want[i])) <= tolerance * largest);
      require_ok(export_hf_gptq({.in = temp.path() / "q.gguf", .out = temp.path() / "back"}));
      if (inexact > 0) continue;
      const auto back = require_ok(safetensors::File::open(temp.path() / "back"));
      for (const auto& [name, tensor] : model.quantized.tensors) {
        const bool zero_bias = name.ends_with(".bias") && tensor.type == "F16";
        if (zero_bias) continue;
        CAPTURE(name);
        const safetensors::TensorInfo* info = back.tensor(name);
        REQUIRE(info != nullptr);
        CHECK(std::string(reinterpret_cast<const char*>(info->bytes.data()), info->bytes.size()) ==
              tensor.bytes);
      }
      const ConvertReport again = import_folder(temp.path() / "back", temp.path() / "back.gguf");
      CHECK(hashes(again) == hashes(imported));
    }
  }
}

TEST_CASE("export: weights that are no numbers are refused") {
  for (const DType type : {DType::q4_0, DType::f16, DType::q6_K}) {
    CAPTURE(std::string(dtype_name(type)));
    const TempDir temp;
    std::vector<std::byte> bytes = write_tiny_model(widened(tiny_model("llama"), type)).bytes();
    const gguf::File file = require_ok(gguf::File::parse(bytes));
    const gguf::TensorInfo* matrix = file.tensor("blk.1.attn_k.weight");
    REQUIRE(matrix != nullptr);
    // Every two bytes a half that is none, so that a block's scale is one too.
    const size_t at = size_t(matrix->bytes.data() - bytes.data());
    std::fill_n(bytes.begin() + std::ptrdiff_t(at), matrix->bytes.size(), std::byte{0x7E});
    std::ofstream(temp.path() / "in.gguf", std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
    CHECK(refusal(temp.path() / "in.gguf", temp.path() / "folder").find("finite") !=
          std::string::npos);
    CHECK_FALSE(fs::exists(temp.path() / "folder"));
  }
}

TEST_CASE("export: nothing is written over, and nothing is left behind") {
  const TempDir temp;
  require_ok(write_tiny_model(tiny_model("llama")).save(temp.path() / "in.gguf"));
  const fs::path folder = temp.path() / "folder";
  fs::create_directories(folder);
  write_text(folder / "notes.txt", "mine");
  CHECK(refusal(temp.path() / "in.gguf", folder).find("empty") != std::string::npos);
  const Result<ExportReport> stopped = export_hf_gptq(
      {.in = temp.path() / "in.gguf", .out = temp.path() / "other", .stop = [] { return true; }});
  REQUIRE_FALSE(stopped.ok());
  CHECK(stopped.error().code == ErrorCode::cancelled);
  CHECK_FALSE(fs::exists(temp.path() / "other"));
  CHECK(fs::exists(folder / "notes.txt"));
}

}  // namespace
}  // namespace lm::test
