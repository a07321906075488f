// config.json as the years have written it, and as nobody should.
#include <cmath>

#include "tests/tools/hf_folder.h"

namespace fs = std::filesystem;

namespace lm::test {
namespace {

Json rope_object(std::string_view text) {
  return require_ok(parse_json(text));
}

gguf::File convert_ok(const TempDir& temp, const HfFolder& folder) {
  require_ok(folder.convert_to(temp.path() / "out.gguf"));
  return require_ok(gguf::File::open(temp.path() / "out.gguf"));
}

// The error for tiny_llama() with one key of its config replaced; "" when it converts.
std::string with(std::string_view key, std::string_view value) {
  const TempDir temp;
  HfFolder folder = tiny_llama();
  folder.config[std::string(key)] = require_ok(parse_json(value));
  const auto result = folder.convert_to(temp.path() / "out.gguf");
  return result.ok() ? "" : result.error().message;
}

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("rope: theta and scaling wherever they are written") {
  const TempDir temp;
  HfFolder folder = tiny_llama();
  CHECK(require_ok(convert_ok(temp, folder).f32("llama.rope.freq_base")) == 10000);
  folder.config["rope_theta"] = 500000;
  folder.config["rope_scaling"] = nullptr;
  CHECK(require_ok(convert_ok(temp, folder).f32("llama.rope.freq_base")) == 500000);
  folder.config["rope_parameters"] =
      rope_object(R"({"rope_type": "default", "rope_theta": 20000.5})");
  CHECK(require_ok(convert_ok(temp, folder).f32("llama.rope.freq_base")) == 20000.5f);

  folder.config["rope_parameters"] = rope_object(R"({"type": "linear", "factor": 4})");
  gguf::File file = convert_ok(temp, folder);
  CHECK(require_ok(file.str("llama.rope.scaling.type")) == "linear");
  CHECK(require_ok(file.f32("llama.rope.scaling.factor")) == 4);

  folder.config["rope_parameters"] = rope_object(
      R"({"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 16, "attention_factor": 2, "beta_fast": 31})");
  file = convert_ok(temp, folder);
  CHECK(require_ok(file.str("llama.rope.scaling.type")) == "yarn");
  CHECK(require_ok(file.u32("llama.rope.scaling.original_context_length")) == 16);
  CHECK(require_ok(file.f32("llama.rope.scaling.yarn_beta_fast")) == 31);
  CHECK(require_ok(file.f32("llama.rope.scaling.yarn_beta_slow")) == 1);
  // The reader multiplies by 0.1 ln(4) + 1; the product is what the config asked for.
  CHECK(require_ok(file.f32("llama.rope.scaling.attn_factor")) * (0.1 * std::log(4.0) + 1) ==
        doctest::Approx(2));
}

// Llama 3.2 1B's own numbers; the formula as transformers writes it, wavelength by wavelength.
TEST_CASE("rope: llama3's factors become a tensor") {
  const TempDir temp;
  HfFolder folder = tiny_llama();
  folder.config["head_dim"] = 64;
  const std::string attention = "model.layers.0.self_attn.";
  for (const auto& [name, rows, cols] :
       {std::tuple("q_proj", 128, 8), std::tuple("k_proj", 64, 8), std::tuple("v_proj", 64, 8),
        std::tuple("o_proj", 8, 128)}) {
    folder.add(attention + name + ".weight", {rows, cols});
  }
  folder.config["rope_theta"] = 500000.0;
  folder.config["rope_scaling"] = rope_object(
      R"({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192})");
  const std::vector<float> factors = numbers_of(convert_ok(temp, folder), "rope_freqs.weight");
  REQUIRE(factors.size() == 32);
  for (size_t i = 0; i < 32; ++i) {
    const double frequency = std::pow(500000.0, -double(2 * i) / 64);
    const double wavelength = 2 * 3.14159265358979 / frequency;
    double expected = frequency;
    if (wavelength > 8192 / 1.0) {
      expected = frequency / 32;
    } else if (wavelength >= 8192 / 4.0) {
      const double smooth = (8192 / wavelength - 1) / (4 - 1);
      expected = (1 - smooth) * frequency / 32 + smooth * frequency;
    }
    CHECK(frequency / factors[i] == doctest::Approx(expected).epsilon(1e-6));
  }
  CHECK(factors.front() == 1);
  CHECK(factors.back() == 32);
}

TEST_CASE("head_dim, KV heads and activations may be left out") {
  const TempDir temp;
  HfFolder folder = tiny_llama();
  folder.config.erase("num_key_value_heads");
  folder.add("model.layers.0.self_attn.k_proj.weight", {8, 8});
  folder.add("model.layers.0.self_attn.v_proj.weight", {8, 8});
  const gguf::File file = convert_ok(temp, folder);
  CHECK(require_ok(file.u32("llama.attention.head_count_kv")) == 2);
  CHECK(require_ok(file.u32("llama.attention.key_length")) == 4);
}

TEST_CASE("windows: one for all layers, or none") {
  const TempDir temp;
  HfFolder folder = tiny_llama();
  folder.config["architectures"][0] = "MistralForCausalLM";
  CHECK(convert_ok(temp, folder).value("llama.attention.sliding_window") == nullptr);
  folder.config["sliding_window"] = nullptr;
  CHECK(convert_ok(temp, folder).value("llama.attention.sliding_window") == nullptr);
  folder.config["sliding_window"] = 7;
  CHECK(require_ok(convert_ok(temp, folder).u32("llama.attention.sliding_window")) == 7);
  folder.config["layer_types"] = {"full_attention"};
  CHECK(convert_ok(temp, folder).value("llama.attention.sliding_window") == nullptr);
  folder.config["layer_types"] = {"sliding_attention"};
  CHECK(require_ok(convert_ok(temp, folder).u32("llama.attention.sliding_window")) == 7);
}

TEST_CASE("what would compute something else is refused") {
  CHECK(contains(with("architectures", R"(["FalconForCausalLM"])"), "found FalconForCausalLM"));
  CHECK(contains(with("architectures", "[]"), "architectures"));
  CHECK(contains(with("quantization_config", R"({"quant_method": "exl3", "bits": 4})"), "exl3"));
  CHECK(contains(with("hidden_act", R"("gelu")"), "gelu"));
  CHECK(contains(with("sliding_window", "16"), "sliding_window"));
  CHECK(contains(with("final_logit_softcapping", "30"), "final_logit_softcapping"));
  CHECK(contains(with("rope_scaling", R"({"type": "dynamic", "factor": 2})"), "dynamic"));
  CHECK(contains(with("rope_scaling", R"({"type": "yarn", "factor": 2, "mscale": 1})"), "mscale"));
  CHECK(contains(with("rope_scaling", R"({"type": "yarn", "factor": 2, "truncate": false})"),
                 "truncate"));
}

TEST_CASE("numbers are checked before they are used") {
  for (const char* key :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "vocab_size", "max_position_embeddings", "head_dim"}) {
    for (const char* value : {"0", "-1", "1e300", "18446744073709551615", "9223372036854775807",
                              "4294967297", "\"8\"", "[8]", "{}", "8.5", "true"}) {
      CAPTURE(key);
      CAPTURE(value);
      CHECK(contains(with(key, value), key));
    }
  }
  CHECK(contains(with("num_attention_heads", "3"), "heads"));
  CHECK(contains(with("num_key_value_heads", "3"), "divisor"));
  CHECK(contains(with("head_dim", "3"), "even"));
  CHECK(contains(with("rms_norm_eps", "\"x\""), "rms_norm_eps"));
  CHECK(contains(with("rope_theta", "0"), "rope_theta"));
  CHECK(contains(with("partial_rotary_factor", "0.1"), "partial_rotary_factor"));
  CHECK(contains(with("tie_word_embeddings", "1"), "tie_word_embeddings"));
  CHECK(contains(with("vocab_size", "12"), "model.embed_tokens.weight"));
}

TEST_CASE("a folder that is none, or lacks its config") {
  const TempDir temp;
  const fs::path out = temp.path() / "out.gguf";
  const auto convert_from = [&](const fs::path& in) {
    return convert({.in = in, .out = out, .type = {}, .vocab = false, .progress = {}});
  };
  CHECK_FALSE(convert_from(temp.path() / "absent").ok());
  CHECK_FALSE(convert_from(temp.path()).ok());
  const fs::path in = temp.path() / "in";
  for (const std::string_view config : {"", "[]", "null", "{", "{}", "\xff", "[[[[[[[[[["}) {
    tiny_llama().save(in);
    write_text(in / "config.json", config);
    const auto result = convert_from(in);
    REQUIRE_FALSE(result.ok());
    CHECK(result.error().code == ErrorCode::bad_file);
  }
  tiny_llama().save(in);
  fs::remove(in / "model.safetensors");
  CHECK_FALSE(convert_from(in).ok());
  CHECK_FALSE(fs::exists(out));
}

// What is written is read again, and removed when it is wrong: a device must not be.
TEST_CASE("a device is no place for a model") {
  const TempDir temp;
  const fs::path in = temp.path() / "in";
  tiny_llama().save(in);
  const auto result =
      convert({.in = in, .out = "/dev/null", .type = {}, .vocab = false, .progress = {}});
  REQUIRE_FALSE(result.ok());
  CHECK(result.error().message.find("expected a file to write") != std::string::npos);
  CHECK(fs::is_character_file("/dev/null"));
}

// Every byte of the config cut or replaced: an answer or one line, never a crash.
TEST_CASE("damaged configs") {
  const TempDir temp;
  const fs::path in = temp.path() / "in", out = temp.path() / "out.gguf";
  HfFolder folder = tiny_llama();
  folder.config["rope_scaling"] = rope_object(R"({"rope_type": "llama3", "factor": 8})");
  folder.save(in);
  const std::string config = dump_json(folder.config);
  Random random(17);
  for (size_t i = 0; i < config.size(); ++i) {
    std::string cut = config.substr(0, i), bent = config;
    bent[i] = char(random.below(256));
    for (const std::string& text : {cut, bent}) {
      write_text(in / "config.json", text);
      const auto result =
          convert({.in = in, .out = out, .type = {}, .vocab = false, .progress = {}});
      if (!result.ok()) CHECK(result.error().message.find('\n') == std::string::npos);
    }
  }
}

}  // namespace
}  // namespace lm::test
