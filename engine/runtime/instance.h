// engine/runtime/instance.h — a loaded model, ready to run steps: file, backends, weights, KV
// memory. The engine schedules on top of it; jobs that need raw logits (logits, eval, bench) drive
// it directly.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/registry.h"
#include "engine/core/result.h"
#include "engine/core/token.h"
#include "engine/kv/block_pool.h"
#include "engine/kv/fingerprint.h"
#include "engine/kv/kv_cache.h"
#include "engine/model/model.h"
#include "engine/runtime/instance_options.h"
#include "engine/runtime/model_plan.h"
#include "engine/runtime/step_inputs.h"
#include "engine/sample/logit_row.h"
#include "engine/text/tokenizer.h"

namespace lm {

class Instance {
 public:
  static Result<std::unique_ptr<Instance>> open(const Registry& registry,
                                                const InstanceOptions& options);
  // Of these options' model, without loading it.
  static Result<MemoryNeeds> needs(const InstanceOptions& options);
  ~Instance();

  const ModelConfig& config() const;
  const gguf::File& file() const;
  const std::vector<StampedFile>& files() const;  // its parts, as they were when they were opened
  const Tokenizer* tokenizer() const;  // nullptr when the file has none and none was needed
  const ModelPlan& plan() const;
  Backend& backend(size_t room = 0) const;  // of plan().rooms
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

  // compute() in two parts. Between them one more step may be launched: see launch_ahead().
  Status launch(std::span<const StepRow> rows);
  Status collect(int n_launched_since, std::vector<LogitRow>& logits);
  // Whether launch_ahead() may be called, and wins time.
  bool runs_ahead() const;
  // Launches a step whose tokens follow from the step that was launched last, and was not collected
  // yet: the only one of rows[i], in place of what it says, is the one that rules[i] draws. Then
  // the rows of the step in front can't be fetched any more.
  Status launch_ahead(std::span<const StepRow> rows, std::span<const DrawRule> rules);
  // Of the step that was collected last: the tokens that were drawn for it.
  std::span<const TokenId> guesses() const;
  // Whether rows[index] of the step launched last was this one, but for its token.
  bool launched(int index, const StepRow& row) const;

  // Makes one block of the pool hold what another does, before the next step; what a block holds,
  // out of and into host memory: block_bytes() of it. In a model with windows it has a page.
  void copy_block(const BlockCopy& copy);
  uint64_t block_bytes() const;
  Status read_block(BlockId block, std::span<std::byte> into) const;
  void write_block(BlockId block, std::span<const std::byte> from);
  // read_block() in two parts, of an instance that runs ahead: what the block holds behind the
  // steps that were launched so far.
  void send_block(BlockId block, Landing& into) const;

 private:
  static Result<std::unique_ptr<Instance>> open_model(const Registry& registry,
                                                      const InstanceOptions& options);

  struct Impl;
  explicit Instance(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lm
