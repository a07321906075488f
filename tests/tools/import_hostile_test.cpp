// Checkpoints that are damaged or say what is not so: each ends in one clear line and no file.
#include <cmath>
#include <functional>

#include "tests/tools/known_matrix.h"

namespace fs = std::filesystem;

namespace lm::test {
namespace {

constexpr const char* kStem = "model.layers.0.mlp.up_proj";

std::string refusal(const HfFolder& folder, ConvertOptions options = {}) {
  const TempDir temp;
  folder.save(temp.path() / "in");
  options.in = temp.path() / "in";
  options.out = temp.path() / "out.gguf";
  options.vocab = false;
  const Result<ConvertReport> result = convert(options);
  REQUIRE_FALSE(result.ok());
  CHECK_FALSE(fs::exists(options.out));
  CHECK(result.error().message.find('\n') == std::string::npos);
  return result.error().message;
}

// The model of `scheme` after `change`.
std::string after(const Scheme& scheme, const std::function<void(HfFolder&)>& change) {
  HfFolder folder = known_llama(scheme).quantized;
  change(folder);
  return refusal(folder);
}

bool contains(const std::string& text, std::string_view part) {
  CAPTURE(text);
  CAPTURE(part);
  const bool found = text.find(part) != std::string::npos;
  CHECK(found);
  return found;
}

const Scheme kGptq{Packing::gptq_v1, 4, 32, false, true};
const Scheme kSymmetric{Packing::gptq_v1, 4, 32, true, false};
const Scheme kAwq{Packing::awq_gemm, 4, 64, false, false};
const Scheme kPacked{Packing::packed, 4, 32, false, true};

Json& config_of(HfFolder& folder) {
  return folder.config["quantization_config"];
}

TEST_CASE("hostile: tensors that are missing, or of another shape or type") {
  for (const char* part : {".qzeros", ".scales"}) {
    contains(after(kGptq, [&](HfFolder& f) { f.tensors.erase(kStem + std::string(part)); }),
             std::string(kStem) + part + ": expected this tensor, found none");
    contains(after(kAwq, [&](HfFolder& f) { f.tensors.erase(kStem + std::string(part)); }), part);
  }
  contains(after(kPacked,
                 [](HfFolder& f) { f.tensors.erase(kStem + std::string(".weight_zero_point")); }),
           "weight_zero_point: expected this tensor, found none");
  contains(after(kGptq, [](HfFolder& f) { f.tensors.erase(kStem + std::string(".qweight")); }),
           "expected tensor model.layers.0.mlp.up_proj.weight, found none");
  const auto transpose = [](const char* part) {
    return [part](HfFolder& f) {
      HfTensor& tensor = f.tensors.at(kStem + std::string(part));
      std::swap(tensor.shape[0], tensor.shape[1]);
    };
  };
  contains(after(kGptq, transpose(".qweight")), ".qweight: expected");
  contains(after(kGptq, transpose(".qzeros")), ".qzeros: expected I32 [4, 32], found I32 [32, 4]");
  contains(after(kGptq, transpose(".scales")), "groups for 128 columns, found 256");
  contains(after(kAwq, transpose(".qweight")), ".qweight: expected I32 [128, 32]");
  contains(after(kPacked, transpose(".weight_packed")), ".weight_packed: expected I32 [256, 16]");
  contains(after(kPacked, transpose(".weight_scale")), ".weight_scale: expected");
  contains(
      after(kGptq, [](HfFolder& f) { f.tensors.at(kStem + std::string(".qweight")).type = "F32"; }),
      ".qweight: expected I32");
  contains(
      after(kGptq, [](HfFolder& f) { f.tensors.at(kStem + std::string(".scales")).type = "I16"; }),
      ".scales: expected F16, BF16 or F32, found I16");
}

TEST_CASE(
    "hostile: groups out of range, zero-points that break a promise, scales that are no numbers") {
  const auto set_int = [](HfFolder& f, const std::string& name, size_t index, int32_t value) {
    std::memcpy(f.tensors.at(name).bytes.data() + 4 * index, &value, 4);
  };
  for (const int32_t group : {-1, 4, 1 << 30, INT32_MIN}) {
    contains(
        after(kGptq, [&](HfFolder& f) { set_int(f, kStem + std::string(".g_idx"), 5, group); }),
        ".g_idx: expected groups from 0 to 3, found " + std::to_string(group) + " at 5");
    contains(
        after(kPacked,
              [&](HfFolder& f) { set_int(f, kStem + std::string(".weight_g_idx"), 5, group); }),
        ".weight_g_idx: expected groups from 0 to 3");
  }
  contains(
      after(kSymmetric, [&](HfFolder& f) { set_int(f, kStem + std::string(".qzeros"), 1, 3); }),
      "expected the zero-point 8 everywhere, as \"sym\" promises");
  for (const uint16_t bits : {uint16_t{0x7c00}, uint16_t{0x7e00}}) {
    contains(after(kGptq,
                   [&](HfFolder& f) {
                     std::memcpy(f.tensors.at(kStem + std::string(".scales")).bytes.data(), &bits,
                                 2);
                   }),
             "expected finite scales");
  }
  contains(after(kPacked,
                 [](HfFolder& f) {
                   const int64_t shape[2] = {128, 256};
                   std::memcpy(f.tensors.at(kStem + std::string(".weight_shape")).bytes.data(),
                               shape, sizeof shape);
                 }),
           "weight_shape: expected 256 × 128, found 128 × 256");
}

TEST_CASE("hostile: configurations") {
  struct Wrong {
    const char* key;
    Json value;
    const char* message;
  };
  for (const Wrong& wrong :
       std::vector<Wrong>{{"bits", 5, "expected 2, 3, 4 or 8 bits, found 5"},
                          {"bits", 1 << 30, "expected \"bits\" to be a whole number from 2 to 8"},
                          {"bits", "4", "expected \"bits\""},
                          {"bits", 8, "expected 8 bits for each of 128 columns"},
                          {"group_size", 0, "expected \"group_size\""},
                          {"group_size", -2, "expected \"group_size\""},
                          {"group_size", int64_t{1} << 40, "expected \"group_size\""},
                          {"group_size", 64, "groups for 128 columns, found 4"},
                          {"sym", "yes", "expected \"sym\""},
                          {"checkpoint_format", "marlin", "repacked for the Marlin kernel"},
                          {"is_marlin_format", true, "repacked for the Marlin kernel"},
                          {"checkpoint_format", "gptq_v9", "gptq_v9"},
                          {"quant_method", "marlin", "repacked for the Marlin kernel"},
                          {"quant_method", "exl3", "found exl3"}}) {
    contains(after(kGptq, [&](HfFolder& f) { config_of(f)[wrong.key] = wrong.value; }),
             wrong.message);
  }
  for (const char* version : {"gemv_fast", "marlin", "llm-awq"}) {
    contains(after(kAwq, [&](HfFolder& f) { config_of(f)["version"] = version; }),
             std::string("expected AWQ of version gemm or gemv, found ") + version);
  }
  contains(after(kPacked, [](HfFolder& f) { config_of(f)["format"] = "marlin-24"; }), "marlin-24");
  contains(after(kPacked, [](HfFolder& f) { config_of(f)["config_groups"] = Json::object(); }),
           "config_groups");
  contains(after(kGptq, [](HfFolder& f) { f.config["quantization_config"] = "gptq"; }),
           "expected \"quantization_config\" to be an object");
}

TEST_CASE("hostile: a file cut short") {
  const TempDir temp;
  known_llama(kGptq).quantized.save(temp.path() / "in");
  const fs::path weights = temp.path() / "in" / "model.safetensors";
  const auto size = fs::file_size(weights);
  for (const uintmax_t keep : {uintmax_t{0}, uintmax_t{7}, uintmax_t{500}, size / 2, size - 1}) {
    fs::resize_file(weights, keep);
    const auto result =
        convert({.in = temp.path() / "in", .out = temp.path() / "out.gguf", .vocab = false});
    CHECK_FALSE(result.ok());
    CHECK_FALSE(fs::exists(temp.path() / "out.gguf"));
  }
}

// The folder in two shards, cut between the names below and above `middle`; `again` is in both.
void save_sharded(const HfFolder& folder, const fs::path& path, const std::string& middle,
                  const std::string& again) {
  Json map = Json::object();
  for (const int shard : {1, 2}) {
    HfFolder part = folder;
    std::erase_if(part.tensors, [&](const auto& entry) {
      return (entry.first < middle) != (shard == 1) && entry.first != again;
    });
    const std::string name = "model-0000" + std::to_string(shard) + "-of-00002.safetensors";
    for (const auto& [tensor, data] : part.tensors) map[tensor] = name;
    part.save(path);
    fs::rename(path / "model.safetensors", path / name);
  }
  write_text(path / "model.safetensors.index.json", dump_json({{"weight_map", map}}));
}

TEST_CASE("a module whose tensors lie in two shards, and one that lies in both") {
  const TempDir temp;
  const HfFolder folder = known_llama(kGptq).quantized;
  const auto import_sharded = [&](const std::string& again) {
    save_sharded(folder, temp.path() / "in", kStem + std::string(".qzeros"), again);
    return convert({.in = temp.path() / "in", .out = temp.path() / "out.gguf", .vocab = false});
  };
  const ConvertReport report = require_ok(import_sharded(""));
  CHECK(report.n_tensors > 20);
  const auto twice = import_sharded(kStem + std::string(".qweight"));
  REQUIRE_FALSE(twice.ok());
  contains(twice.error().message, "up_proj.qweight occurs twice");
}

TEST_CASE("per-module widths and a configuration beside the model") {
  const TempDir temp;
  HfFolder folder = known_llama(kSymmetric).quantized;
  const Scheme wide{Packing::gptq_v1, 8, 64, true, false};
  const KnownMatrix m = known_matrix(wide, 256, 128, 7, 7);
  add_gptq(folder, kStem, wide, m);
  contains(refusal(folder), "expected 4 bits");
  config_of(folder)["dynamic"] = {{"+:.*up_proj$", {{"bits", 8}, {"group_size", 64}}}};
  folder.texts["quantize_config.json"] = dump_json(config_of(folder));
  folder.config.erase("quantization_config");
  folder.save(temp.path() / "in");
  const ConvertReport report = require_ok(convert(
      {.in = temp.path() / "in", .out = temp.path() / "out.gguf", .vocab = false, .verify = true}));
  const gguf::File file = require_ok(gguf::File::open(temp.path() / "out.gguf"));
  CHECK(file.tensor("blk.0.ffn_up.weight")->dtype == DType::q8_0);
  CHECK(file.tensor("blk.1.ffn_up.weight")->dtype == DType::q4_0);
  CHECK(numbers_of(file, "blk.0.ffn_up.weight") == m.numbers());
}

TEST_CASE("zero-points of the second format under the first's name") {
  const TempDir temp;
  HfFolder folder = known_llama({Packing::gptq_v2, 4, 32, true, false}).quantized;
  config_of(folder)["checkpoint_format"] = "gptq";
  folder.save(temp.path() / "in");
  const ConvertReport report = require_ok(
      convert({.in = temp.path() / "in", .out = temp.path() / "out.gguf", .vocab = false}));
  REQUIRE(report.notes.size() == 1);
  contains(report.notes[0], "14 matrices hold zero-points as gptq_v2 does");
}

TEST_CASE("fp8: block, row and whole scales") {
  struct Case {
    const char* name;
    std::vector<int64_t> shape;
    int64_t block_rows, block_cols;
  };
  for (const Case& one :
       {Case{".weight_scale_inv", {2, 1}, 128, 128}, Case{".weight_scale", {256, 1}, 1, 128},
        Case{".weight_scale", {}, 256, 128}}) {
    CAPTURE(one.name);
    const TempDir temp;
    HfFolder folder = known_llama(kGptq).plain;
    folder.config["quantization_config"] = {{"quant_method", "fp8"}};
    Random random(3);
    std::string bytes;
    for (int i = 0; i < 256 * 128; ++i) {
      const auto byte = uint8_t(random.below(256));
      bytes.push_back(char((byte & 0x7f) == 0x7f ? 0 : byte));  // no NaN
    }
    folder.tensors[kStem + std::string(".weight")] = {"F8_E4M3", {256, 128}, bytes};
    std::vector<float> scales(size_t(HfFolder::count(one.shape)), 0);
    for (float& scale : scales) scale = random.uniform(0.001f, 0.01f);
    folder.set(kStem + std::string(one.name), one.shape, scales);
    folder.save(temp.path() / "in");
    const ConvertReport report = require_ok(convert({.in = temp.path() / "in",
                                                     .out = temp.path() / "out.gguf",
                                                     .exact = true,
                                                     .vocab = false,
                                                     .verify = true}));
    const gguf::File file = require_ok(gguf::File::open(temp.path() / "out.gguf"));
    const std::vector<float> got = numbers_of(file, "blk.0.ffn_up.weight");
    const int64_t scale_cols = (128 + one.block_cols - 1) / one.block_cols;
    for (int64_t i = 0; i < 256 * 128; i += 37) {
      const auto byte = uint8_t(bytes[size_t(i)]);
      const int exponent = byte >> 3 & 15;
      const double magnitude =
          exponent == 0 ? (byte & 7) / 512.0 : std::ldexp(1 + (byte & 7) / 8.0, exponent - 7);
      const float number = float((byte & 0x80) != 0 ? -magnitude : magnitude);
      const auto at = i / 128 / one.block_rows * scale_cols + i % 128 / one.block_cols;
      REQUIRE(got[size_t(i)] == number * scales[size_t(at)]);
    }
    folder.tensors.erase(kStem + std::string(one.name));
    contains(refusal(folder), "expected this tensor beside 8-bit floats, found none");
  }
}

TEST_CASE("--head: the output matrix in a format of its own") {
  const TempDir temp;
  known_llama(kSymmetric).quantized.save(temp.path() / "in");
  const ConvertReport report = require_ok(convert({.in = temp.path() / "in",
                                                   .out = temp.path() / "out.gguf",
                                                   .head = DType::q8_0,
                                                   .vocab = false,
                                                   .verify = true}));
  const gguf::File file = require_ok(gguf::File::open(temp.path() / "out.gguf"));
  CHECK(file.tensor("output.weight")->dtype == DType::q8_0);
  CHECK(file.tensor("token_embd.weight")->dtype == DType::f32);
  CHECK(report.verified);
  const auto head = std::ranges::find(report.tensors, "output.weight", &ConvertedTensor::name);
  REQUIRE(head != report.tensors.end());
  CHECK_FALSE(head->exact);
  CHECK(head->relative_rms_error > 0);
}

}  // namespace
}  // namespace lm::test
