// engine/runtime/instance.h — a loaded model, ready to run steps: file, backend, weights, KV
// memory. The engine schedules on top of it; jobs that need raw logits (logits, eval, bench) drive
// it directly.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/observe.h"
#include "backends/registry.h"
#include "engine/core/result.h"
#include "engine/core/token.h"
#include "engine/kv/block_pool.h"
#include "engine/kv/fingerprint.h"
#include "engine/kv/kv_cache.h"
#include "engine/model/model.h"
#include "engine/runtime/step_inputs.h"
#include "engine/sample/logit_row.h"
#include "engine/text/tokenizer.h"

namespace lm {

// What a model takes of the memory.
struct MemoryNeeds {
  uint64_t weight_bytes = 0;
  uint64_t block_bytes = 0;  // of a block of the KV cache, in the layers without a window
  uint64_t page_bytes = 0;   // and in those that have one
  int window = 0;            // tokens that the widest of them sees; 0: there are none
};

struct InstanceOptions {
  std::filesystem::path model_path;
  std::string device = "auto";
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

class Instance {
 public:
  static Result<std::unique_ptr<Instance>> open(const Registry& registry,
                                                const InstanceOptions& options);
  // Of these options' model, without loading it.
  static Result<MemoryNeeds> needs(const InstanceOptions& options);
  // Bytes of the KV cache of max_seqs sequences of n_ctx tokens, both stated, where memory is no
  // limit.
  static Result<uint64_t> kv_bytes(const ModelConfig& config, const InstanceOptions& options);
  ~Instance();

  const ModelConfig& config() const;
  const gguf::File& file() const;
  const std::vector<StampedFile>& files() const;  // its parts, as they were when they were opened
  const Tokenizer* tokenizer() const;  // nullptr when the file has none and none was needed
  Backend& backend() const;
  BlockPool& pool() const;
  int n_ctx() const;
  int max_seqs() const;
  int max_step_tokens() const;  // with draft_rows()
  int max_step_logits() const;
  int draft_rows() const;  // of both
  DType kv_dtype() const;
  uint64_t kv_bytes() const;
  uint64_t weight_bytes() const;
  // Whether the weights are read from the file all the time, because memory does not hold them.
  bool weights_in_file() const;

  // Runs one forward pass. The result views a buffer that the next step overwrites: the wanted
  // logits in the order of the rows, [sum of n_logits, n_vocab]. bad_request on a token that is not
  // in the vocabulary, context_full past n_ctx; at most max_seqs() rows, max_step_tokens() tokens
  // and max_step_logits() logits.
  Result<std::span<float>> step(std::span<const StepRow> rows);
  // The same, but the logits stay where they are: each row of them has what sampling mostly needs,
  // and is fetched when it needs more, before the next step.
  Status compute(std::span<const StepRow> rows, std::vector<LogitRow>& logits);

  // Makes one block of the pool hold what another does, before the next step; what a block holds,
  // out of and into host memory: block_bytes() of it. In a model with windows it has a page.
  void copy_block(const BlockCopy& copy);
  uint64_t block_bytes() const;
  void read_block(BlockId block, std::span<std::byte> into) const;
  void write_block(BlockId block, std::span<const std::byte> from);

 private:
  static Result<std::unique_ptr<Instance>> open_model(const Registry& registry,
                                                      const InstanceOptions& options);

  struct Impl;
  explicit Instance(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lm
