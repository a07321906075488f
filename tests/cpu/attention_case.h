// tests/cpu/attention_case.h — sequences in a paged KV cache and the queries that attend to them,
// for the attention tests of every backend.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "tests/cpu/guarded.h"

namespace lm::test {

struct AttentionSetup {
  int64_t n_heads = 4, n_kv_heads = 2, head_dim = 64;
  int block_size = 16;
  DType kv = DType::f16;
  float softcap = 0;
  int window = 0;
  bool sinks = false;
  float query_scale = 1;
};
std::string name_of(const AttentionSetup& setup);

// Sequences with all their queries, keys and values, and the blocks that hold them.
struct AttentionCase {
  AttentionCase(const AttentionSetup& attention, std::vector<int> lengths, uint64_t seed,
                bool shuffled = true);
  float scale() const;

  AttentionSetup setup;
  std::vector<int> kv_len, first_token;
  int n_tokens = 0;
  int max_blocks = 0;          // of a sequence: columns of the table
  int64_t n_blocks = 0;        // of the cache: two more than are used
  std::vector<int32_t> table;  // [sequences, max_blocks]; -1: none
  std::vector<float> q, k, v, sinks;
};

// The keys and values of a case in the caches of one backend. The case outlives it.
class PagedAttention {
 public:
  PagedAttention(Backend& backend, const AttentionCase& data);

  // Rows [kv_len - n, kv_len) of each sequence in one step, n of `rows`, followed by `padding`
  // rows, which become zeros. Returns [rows, n_heads, head_dim].
  std::vector<float> attend(const std::vector<int>& rows, const std::vector<int>& kv_len,
                            int padding = 0);
  std::vector<float> attend(const std::vector<int>& rows, int padding = 0) {
    return attend(rows, data_.kv_len, padding);
  }

  const Guarded& k_cache() const { return *k_; }
  const Guarded& v_cache() const { return *v_; }

 private:
  void write(int first_token, int n_tokens);

  Backend& backend_;
  const AttentionCase& data_;
  std::unique_ptr<Guarded> k_, v_;
};

}  // namespace lm::test
