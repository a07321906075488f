// engine/model/model.h — weights bound to a config, and the one forward pass, in one room or
// through several.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/model/config.h"
#include "engine/model/placement.h"
#include "gguf/file.h"

namespace lm {

// One layer's KV cache: [n_blocks, n_kv_heads, block_size, head_dim].
struct KvLayer {
  Tensor k, v;
  bool windowed = false;  // its blocks are those of RoomStep::windowed
};

// A step as one room has it: the same numbers in each.
struct RoomStep {
  StepView all;
  StepView windowed;  // with the slots and block table of layers that keep only a window
  Tensor logit_rows;  // i32 [n_logits]
};

struct LoadOptions {
  int n_ctx = 0;  // context that will be used (longrope chooses its table by it); 0: as trained
  Placement placement{};  // of this many layers; without layers: everything in the first room
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;  // may be empty
};

// What the file says the model is; reads no tensor data. Used by inspect before anything is loaded.
Result<ModelConfig> read_config(const gguf::File& file);
// The values of general.architecture that read_config knows.
std::span<const std::string_view> known_architectures();

class Model {
 public:
  // The backends and the file's mapping must outlive the model (it keeps a copy of `file`). Each
  // room does some of the work.
  static Result<Model> load(const gguf::File& file, std::span<const ModelRoom> rooms,
                            const LoadOptions& options);
  static Result<Model> load(const gguf::File& file, Backend& backend, const LoadOptions& options);
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;
  ~Model();

  const ModelConfig& config() const;
  uint64_t weight_bytes()
      const;  // read for each token in decode: all matrices, experts in use only

  // Allocates the activations of the largest step and reserves the backends' workspace. Once,
  // before the first forward.
  Status reserve(int max_tokens, int max_seqs, int max_logits);

  // logits row i [n_vocab] = the scores after row logit_rows[i] of the step.
  // step: of each room, in their order. kv: of each layer, in the room of its attention. logits f32
  // [n_logits, n_vocab], in the output's room. With one room it only enqueues: wait with
  // Backend::synchronize or download. Between two it waits for what is carried.
  void forward(std::span<const RoomStep> step, std::span<const KvLayer> kv, Tensor logits);

 private:
  struct Impl;
  explicit Model(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lm
