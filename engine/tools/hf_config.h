// engine/tools/hf_config.h — config.json as checked numbers, whatever the years have called them.
// Source: the configuration classes of huggingface/transformers (names and defaults).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/tools/convert_families.h"
#include "gguf/writer.h"

namespace lm::hf {

struct RopeConfig {
  enum class Kind : uint8_t { none, linear, llama3, yarn, longrope };
  Kind kind = Kind::none;
  int64_t dims = 0;  // rotated dimensions of a head
  double theta = 0;
  double theta_window = 0;  // of layers with a window; 0: the same
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  int64_t n_ctx_original = 0;                        // llama3, yarn, longrope
  double beta_fast = 32, beta_slow = 1;              // yarn
  double magnitude = 1;                              // yarn: times its own; longrope: in full
  std::vector<float> long_factors, short_factors;    // longrope, [dims / 2]
};

struct Config {
  const Family* family = nullptr;
  int64_t d_model = 0, d_ff = 0, n_layers = 0, n_heads = 0, n_kv_heads = 0, head_dim = 0;
  int64_t n_vocab = 0, n_ctx = 0;
  int64_t n_experts = 0, top_k = 0, d_ff_expert = 0;  // n_experts 0: dense
  double norm_eps = 0;
  bool tied = false;              // the output matrix is the embedding
  int64_t window = 0;             // 0: full attention everywhere
  int64_t window_period = 0;      // layer i is full where (i + 1) % period == 0; 0: none is
  double attn_scale = 0;          // 0: 1 / sqrt(head_dim)
  bool normalise_experts = true;  // the chosen experts' weights sum to 1
  RopeConfig rope;
};

// `json` is config.json's value. bad_file or unsupported with the key that stands in the way.
Result<Config> read_hf_config(const SortedJson& json);

// llama3's division of each frequency (rope_freqs.weight). [dims / 2]
std::vector<float> llama3_rope_factors(const RopeConfig& rope);

// The keys "{arch}.*" that the field's programs read.
void write_config(const Config& config, gguf::Writer& writer);

}  // namespace lm::hf
