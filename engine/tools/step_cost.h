// engine/tools/step_cost.h — what a forward pass has to read and to compute whatever the program is
// like, and so how fast it can be at best: the larger of its bytes over the memory's speed and its
// operations over the arithmetic's (roofline, doi:10.1145/1498765.1498785).
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "engine/model/config.h"
#include "engine/tools/shapes.h"
#include "gguf/file.h"

namespace lm {

struct StepCost {
  double bytes = 0;      // weights and KV cache, read once
  double int8_ops = 0;   // of weights stored in blocks
  double f32_flops = 0;  // of the others
};

// Seconds at least; 0 when the limits are not known.
double least_seconds(const StepCost& cost, const DeviceLimits& limits);

class ModelCost {
 public:
  // The tensors of `config`'s model by GGUF's names, whether a file has them or only a shape.
  ModelCost(std::span<const ShapeTensor> tensors, const ModelConfig& config, DType kv_dtype);

  uint64_t file_bytes() const { return file_bytes_; }        // of all tensors
  uint64_t bytes_per_token() const;                          // of weights, for a token alone
  uint64_t kv_bytes_per_token() const { return kv_bytes_; }  // in the cache
  DType main_type() const { return main_type_; }             // that most bytes are in

  // n_seqs sequences, each with n_tokens new tokens after `depth` older ones, logits of the last.
  StepCost step(int n_tokens, int n_seqs, double depth) const;

 private:
  struct Matrix {
    double bytes, numbers;
    bool blocks;   // stored in blocks: multiplied as integers
    bool output;   // only for the rows whose logits are wanted
    double share;  // of it that one token uses; below 1 for experts
  };
  struct LayerKv {
    double bytes;  // K and V of one token
    int window;    // 0: all tokens
  };
  void add(const ShapeTensor& tensor, bool tied, double expert_share);

  std::vector<Matrix> matrices_;
  std::vector<LayerKv> layers_;
  uint64_t file_bytes_ = 0, kv_bytes_ = 0;
  DType main_type_ = DType::f32;
};

// The tensors of a file, as ModelCost takes them.
std::vector<ShapeTensor> tensors_of(const gguf::File& file);

}  // namespace lm
