// backends/cuda/attention.h — what the kernels of attention share: the call as they see it, and
// which kernel serves it. Keys are reduced in segments of 256 at absolute positions, each from
// (-inf, 0, 0), and merged in order (online softmax, arXiv:1805.02867).
// How fast they are on a device is not measured yet: scripts/device_test.sh --only attention.
#pragma once
#include <cstdint>

#include "backends/backend.h"
#include "backends/cuda/context.h"
#include "backends/cuda/kv_layout.cuh"

namespace lm::cuda {

inline constexpr int kSegment = 256;  // keys

struct AttentionParams {
  const float* q;
  float* out;
  int64_t q_stride, out_stride;  // floats between heads
  KvCacheView k, v;
  const int32_t *q_start, *kv_len, *block_table;
  int64_t table_stride;  // entries between sequences
  int max_blocks;        // of a sequence
  const float* sinks;    // or nullptr
  float scale, softcap;
  int window;
  int n_tokens, n_seqs, n_heads, group;  // group: query heads that share a KV head
};

KvCacheView view_of(Tensor cache);
void check_caches(Tensor k_cache, Tensor v_cache, int64_t head_dim, const StepView& step);

// attention_any.cu: every type and shape, one row and head at a time; of sequences of at least
// least_rows rows in the step.
void attention_any(const Context& context, const AttentionParams& params, DType type,
                   int least_rows);

// attention_decode.cu: sequences of up to kMostDecodeRows rows, where decodes().
Status prepare_attention_decode(const DeviceFacts& facts);
bool decodes(const Context& context, const AttentionParams& params, DType type);
size_t decode_scratch_bytes(const StepLimits& limits);
void attention_decode(const Context& context, const AttentionParams& params, DType type);

// attention_decode_any.cu: the same for every type and block, of heads of up to 256 dimensions.
Status prepare_attention_decode_any();
bool decodes_any(const AttentionParams& params);
void attention_decode_any(const Context& context, const AttentionParams& params, DType type);

// attention_prefill.cu: sequences of more rows, where prefills().
Status prepare_attention_prefill(const DeviceFacts& facts);
bool prefills(const Context& context, const AttentionParams& params, DType type);
void attention_prefill(const Context& context, const AttentionParams& params, DType type);

// What both need: heads that 16-byte loads can read.
bool rows_are_aligned(const AttentionParams& params);

}  // namespace lm::cuda
