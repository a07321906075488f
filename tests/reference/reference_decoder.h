// tests/reference/reference_decoder.h — a decoder in double precision that shares nothing with
// engine/model or the backends: written from the papers' formulas, over a GGUF file's own names,
// without a KV cache, one position and one head at a time. Slow and plain on purpose.
// Sources: attention arXiv:1706.03762, RMSNorm 1910.07467, RoPE 2104.09864, SwiGLU 2002.05202,
// GQA 2305.13245, sliding windows 2310.06825, mixture of experts 2401.04088, QK norm 2302.05442,
// YaRN 2309.00071, LongRoPE 2402.13753, attention sinks and clamped SwiGLU 2508.10925.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/token.h"
#include "gguf/file.h"

namespace lm::test {

using Vec = std::vector<double>;

struct Matrix {
  int64_t rows = 0, cols = 0;
  Vec w;  // row-major; empty: the file has no such tensor

  explicit operator bool() const { return !w.empty(); }
  Vec times(const Vec& x) const;                     // W x
  Matrix part(int64_t first, int64_t n_rows) const;  // rows [first, first + n_rows)
};

struct ReferenceRope {
  Vec frequency;  // radians per position, one for each pair
  double magnitude = 1;
  bool interleaved = false;  // pairs (2i, 2i + 1), else (i, i + pairs)
};

struct ReferenceLayer {
  int window = 0;  // 0: all positions
  ReferenceRope rope;
  Matrix attn_norm, q, k, v, o, q_bias, k_bias, v_bias, o_bias, q_norm, k_norm, sinks,
      attn_post_norm;
  Matrix ffn_norm, ffn_post_norm, router, router_bias;
  // one entry for a dense layer, one per expert otherwise
  std::vector<Matrix> gate, up, down, gate_bias, up_bias, down_bias;
};

class ReferenceDecoder {
 public:
  // Decodes all weights of `file`. `n_ctx`: the context in use, for longrope; 0: as trained.
  explicit ReferenceDecoder(const gguf::File& file, int n_ctx = 0);

  int64_t n_vocab() const { return embedding_.rows; }
  // [tokens][n_vocab]
  std::vector<Vec> logits(std::span<const TokenId> tokens) const;

 private:
  Matrix tensor(const std::string& name) const;
  std::vector<Matrix> experts(const std::string& name) const;
  double number(std::string_view key, double fallback) const;
  ReferenceRope make_rope(bool local) const;
  ReferenceLayer make_layer(int i) const;
  bool slides(int layer) const;

  void attention(const ReferenceLayer& layer, std::vector<Vec>& x) const;
  Vec attend(const ReferenceLayer& layer, const std::vector<Vec>& q, const std::vector<Vec>& k,
             const std::vector<Vec>& v, int position) const;
  void feed_forward(const ReferenceLayer& layer, std::vector<Vec>& x) const;
  Vec expert(const ReferenceLayer& layer, size_t e, const Vec& h) const;
  Vec norm(const Vec& x, const Matrix& weight) const;
  void norm_heads(Vec& x, const Matrix& weight) const;
  void rotate(Vec& x, const ReferenceRope& rope, int position) const;

  gguf::File file_;
  std::string arch_;
  int n_layers_, d_model_, n_heads_, n_kv_heads_, head_dim_, n_ctx_, top_k_;
  double eps_, attn_scale_;
  Matrix embedding_, output_norm_, output_;
  std::vector<ReferenceLayer> layers_;
};

// The largest |got - expected| of a row, divided by the row's largest |expected|; over all rows the
// worst. Rows whose expectation is all zero count absolutely.
double worst_error(const std::vector<Vec>& got, const std::vector<Vec>& expected);
double worst_error(std::span<const float> got, const std::vector<Vec>& expected);

}  // namespace lm::test
