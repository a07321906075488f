// engine/model/weights.h — a decoder's weights, found by name in a file, checked against the config
// and handed to the backend. Everything is found and checked before the first byte is loaded.
// Names: GGUF specification (ggml docs/gguf.md, "Standardized tensor names") and common converters.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "engine/core/result.h"
#include "engine/model/config.h"
#include "engine/model/placement.h"
#include "engine/model/rope.h"
#include "gguf/file.h"

namespace lm {

// A table of frequencies, on the host and in the backend's room.
struct RopeWeights {
  RopeTable table;
  Tensor inv_freq;  // [rope dims / 2]
};

// A norm whose weights are stored in the column order of the matrices behind it has that order
// beside it: it reads its input in that order.
// Matrices are [out, in]; an empty Tensor is a weight that the layer does without.
struct AttnWeights {
  Tensor norm;                        // [d_model]
  Tensor norm_order, out_order;       // i32 [d_model], [n_heads * head_dim]: see gather_columns
  Tensor q, k, v;                     // [heads * head_dim, d_model]
  Tensor q_bias, k_bias, v_bias;      // [heads * head_dim]
  Tensor q_norm, k_norm;              // [head_dim]
  const RopeWeights* rope = nullptr;  // never null once loaded
  Tensor sinks;                       // [n_heads]
  Tensor out, out_bias;               // [d_model, n_heads * head_dim], [d_model]
  Tensor post_norm;                   // [d_model]
};

struct FfnWeights {
  Tensor norm;            // [d_model]
  Tensor norm_order;      // i32 [d_model]: see gather_columns
  Tensor gate, up, down;  // [d_ff, d_model] twice, [d_model, d_ff]; experts: {1, n_experts, ..}
  Tensor gate_bias, up_bias, down_bias;  // [rows]; experts: [n_experts, rows]
  Tensor router, router_bias;            // [n_experts, d_model], [n_experts]
  Tensor post_norm;                      // [d_model]
};

struct LayerWeights {
  AttnWeights attn;
  FfnWeights ffn;
};

struct ModelWeights {
  Tensor embedding;  // [n_vocab, d_model], by row
  std::vector<LayerWeights> layers;
  Tensor output_norm, output;    // [d_model], [n_vocab, d_model]
  Tensor output_norm_order;      // i32 [d_model]: see gather_columns
  bool has_orders = false;       // any of them is there
  uint64_t bytes_per_token = 0;  // of matrices read to decode one token

  // What the tensors above look at.
  std::vector<std::unique_ptr<Buffer>> buffers;
  std::vector<std::unique_ptr<std::byte[]>> joined;  // experts that the file keeps apart
  std::vector<std::unique_ptr<RopeWeights>> ropes;   // one per distinct RopeSpec and room
};

// One of the weights that a file's decoder is made of.
struct ListedWeight {
  PartId part;
  WeightShape shape;
  uint64_t file_bytes = 0;
};
// What load_weights() would load, but for tables of frequencies, which are no tensors of the file;
// and what those take in a room.
struct WeightList {
  std::vector<ListedWeight> weights;
  bool tied = false;  // the output matrix, the last of them, is the embedding again
};
Result<WeightList> list_weights(const gguf::File& file, const ModelConfig& config);
uint64_t rope_table_bytes(const ModelConfig& config, const Placement& placement, int room);

using LoadProgress = std::function<void(uint64_t done_bytes, uint64_t total_bytes)>;

// `n_ctx`: the context that will be used (longrope has a table for short ones and one for long
// ones).
Result<std::unique_ptr<ModelWeights>> load_weights(const gguf::File& file,
                                                   const ModelConfig& config,
                                                   std::span<const ModelRoom> rooms,
                                                   const Placement& placement, int n_ctx,
                                                   const LoadProgress& progress);

// One layer alone: layers[layer] of the result, from `layer_file`, a file that has at least its
// tensors; tables of frequencies from `model_file`. Both must outlive the result.
Result<std::unique_ptr<ModelWeights>> load_layer(const gguf::File& layer_file,
                                                 const gguf::File& model_file,
                                                 const ModelConfig& config, int layer,
                                                 Backend& backend, int n_ctx);
// The embedding table alone.
Result<std::unique_ptr<ModelWeights>> load_embedding(const gguf::File& file,
                                                     const ModelConfig& config, Backend& backend);

}  // namespace lm
