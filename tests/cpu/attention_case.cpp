#include "tests/cpu/attention_case.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/cpu/harness.h"

namespace lm::test {
namespace {

constexpr int kTokensOfStep = 500;  // that kv_write gets at once

}  // namespace

std::string name_of(const AttentionSetup& s) {
  return std::string(dtype_name(s.kv)) + " head_dim " + std::to_string(s.head_dim) + " heads " +
         std::to_string(s.n_heads) + "/" + std::to_string(s.n_kv_heads) + " window " +
         std::to_string(s.window) + " block " + std::to_string(s.block_size);
}

AttentionCase::AttentionCase(const AttentionSetup& attention, std::vector<int> lengths,
                             uint64_t seed, bool shuffled)
    : setup(attention), kv_len(std::move(lengths)), n_blocks(2) {
  Random random(seed);
  for (const int n : kv_len) {
    const int blocks = (n + setup.block_size - 1) / setup.block_size;
    first_token.push_back(n_tokens);
    n_tokens += n;
    n_blocks += blocks;
    max_blocks = std::max(max_blocks, blocks + 1);
  }
  q = random_floats(n_tokens * setup.n_heads * setup.head_dim, random, setup.query_scale);
  k = random_floats(n_tokens * setup.n_kv_heads * setup.head_dim, random);
  v = random_floats(n_tokens * setup.n_kv_heads * setup.head_dim, random);
  sinks = random_floats(setup.n_heads, random);
  std::vector<int32_t> order(static_cast<size_t>(n_blocks));
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = order.size() - 1; shuffled && i > 0; --i) {
    std::swap(order[i], order[random.below(i + 1)]);
  }
  size_t next = 0;
  for (const int n : kv_len) {
    for (int b = 0; b < max_blocks; ++b) {
      table.push_back(b * setup.block_size < n ? order[next++] : -1);
    }
  }
}

float AttentionCase::scale() const {
  return float(1 / std::sqrt(double(setup.head_dim)));
}

PagedAttention::PagedAttention(Backend& backend, const AttentionCase& data)
    : backend_(backend), data_(data) {
  const AttentionSetup& s = data.setup;
  const std::array<int64_t, 4> shape = {data.n_blocks, s.n_kv_heads, s.block_size, s.head_dim};
  k_ = std::make_unique<Guarded>(backend, shape, s.kv);
  v_ = std::make_unique<Guarded>(backend, shape, s.kv);
  for (int first = 0; first < data.n_tokens; first += kTokensOfStep) {
    write(first, std::min(kTokensOfStep, data.n_tokens - first));
  }
  REQUIRE(k_->guards_intact());
  REQUIRE(v_->guards_intact());
}

void PagedAttention::write(int first_token, int n_tokens) {
  const AttentionSetup& s = data_.setup;
  std::vector<int32_t> slots;
  for (size_t seq = 0; seq < data_.kv_len.size(); ++seq) {
    for (int p = 0; p < data_.kv_len[seq]; ++p) {
      const int token = data_.first_token[seq] + p;
      if (token < first_token || token >= first_token + n_tokens) continue;
      const int32_t block = data_.table[seq * size_t(data_.max_blocks) + size_t(p / s.block_size)];
      slots.push_back(block * s.block_size + p % s.block_size);
    }
  }
  const auto part = [&](const std::vector<float>& x) {
    const int64_t width = s.n_kv_heads * s.head_dim;
    return std::vector<float>(x.begin() + first_token * width,
                              x.begin() + (first_token + n_tokens) * width);
  };
  const Guarded k(backend_, {1, n_tokens, s.n_kv_heads, s.head_dim}, part(data_.k)),
      v(backend_, {1, n_tokens, s.n_kv_heads, s.head_dim}, part(data_.v)),
      places(backend_, {1, 1, 1, n_tokens}, slots);
  StepView step;
  step.n_tokens = n_tokens;
  step.block_size = s.block_size;
  step.slots = places;
  backend_.kv_write({.k = k, .v = v, .k_cache = *k_, .v_cache = *v_}, step);
}

std::vector<float> PagedAttention::attend(const std::vector<int>& rows,
                                          const std::vector<int>& kv_len, int padding) {
  const AttentionSetup& s = data_.setup;
  std::vector<float> queries;
  std::vector<int32_t> positions, q_start = {0};
  const int64_t width = s.n_heads * s.head_dim;
  for (size_t seq = 0; seq < rows.size(); ++seq) {
    for (int p = kv_len[seq] - rows[seq]; p < kv_len[seq]; ++p) {
      positions.push_back(p);
      const auto from = data_.q.begin() + (data_.first_token[seq] + p) * width;
      queries.insert(queries.end(), from, from + width);
    }
    q_start.push_back(int32_t(positions.size()));
  }
  positions.resize(positions.size() + size_t(padding), 0);
  const int64_t n = int64_t(positions.size()), n_seqs = int64_t(rows.size());
  queries.resize(size_t(n * width), 1.0f);
  const Guarded tq(backend_, {1, n, s.n_heads, s.head_dim}, queries),
      out(backend_, {1, n, s.n_heads, s.head_dim});
  const Guarded tp(backend_, {1, 1, 1, n}, positions), ts(backend_, {1, 1, 1, n_seqs + 1}, q_start),
      tl(backend_, {1, 1, 1, n_seqs}, std::vector<int32_t>(kv_len.begin(), kv_len.end())),
      tt(backend_, {1, 1, n_seqs, data_.max_blocks}, data_.table),
      sinks(backend_, {1, 1, 1, s.n_heads}, data_.sinks);
  const StepView step{.n_tokens = int(n),
                      .n_seqs = int(n_seqs),
                      .block_size = s.block_size,
                      .token_ids = {},
                      .positions = tp,
                      .slots = {},
                      .q_start = ts,
                      .kv_len = tl,
                      .block_table = tt};
  backend_.attention({.q = tq,
                      .k_cache = *k_,
                      .v_cache = *v_,
                      .out = out,
                      .scale = data_.scale(),
                      .softcap = s.softcap,
                      .window = s.window,
                      .sinks = s.sinks ? Tensor(sinks) : Tensor{}},
                     step);
  REQUIRE(out.guards_intact());
  std::vector<float> result = out.floats();
  const size_t used = size_t((n - padding) * width);
  for (size_t i = used; i < result.size(); ++i) REQUIRE(result[i] == 0);
  result.resize(used);
  return result;
}

}  // namespace lm::test
