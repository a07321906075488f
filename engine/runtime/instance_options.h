// engine/runtime/instance_options.h — what a loaded model is to be like.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "backends/observe.h"
#include "backends/registry.h"
#include "quant/dtype.h"

namespace lm {

// What a model takes of the memory.
struct MemoryNeeds {
  uint64_t weight_bytes = 0;  // in the file
  uint64_t tied_bytes = 0;  // of them, of a table that is the output matrix too: twice on a device
  std::vector<WeightShape> weights{};  // on a device, which may make more of them
  uint64_t block_bytes = 0;            // of a block of the KV cache, in the layers without a window
  uint64_t page_bytes = 0;             // and in those that have one
  int window = 0;                      // tokens that the widest of them sees; 0: there are none
  // Of the largest step of one that computes alone: its inputs, activations and logits, and what it
  // asks of the backend. Without max_tokens: there is none.
  uint64_t step_bytes = 0;
  StepLimits limits{};
};

// Tensors whose part of the model works on another device than the rest of its layer.
struct PlaceRule {
  std::string pattern;  // found in a tensor's name: "ffn_.*_exps"
  std::string device;   // "cpu", "cuda" or "cuda:0"
};

inline constexpr int kLayersThatFit = -1;

struct InstanceOptions {
  std::filesystem::path model_path;
  std::string device = "auto";
  // The last so many layers work on the device, the others on the CPU. More than there are: the
  // embedding and the output too, all of the model.
  int device_layers = kLayersThatFit;
  std::vector<PlaceRule> place;  // the last that fits a part decides, whatever its layer is
  BackendOptions backend;
  int n_ctx = 0;         // tokens of one sequence; 0: the smaller of trained and what fits
  int max_seqs = 1;      // sequences that run at once
  MemoryNeeds beside{};  // of a draft model: the KV budget is for the blocks of both
  uint64_t kv_budget =
      0;  // bytes for KV; 0: what a stated n_ctx needs, or half of the available memory
  DType kv_dtype = DType::f16;
  int block_size = 32;
  int max_step_logits = 0;    // rows of logits that a step may ask for; 0: one of each sequence
  int max_step_tokens = 512;  // rows of one forward pass: the prefill chunk
  int draft_rows = 0;         // and so many tokens and logits more, for drafts
  bool need_tokenizer = true;
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> load_progress;
  ActivationObserver* observer = nullptr;  // sees what enters matrices; outlives the instance
};

// bad_request when no model can be opened like this.
Status check_options(const InstanceOptions& options);

}  // namespace lm
