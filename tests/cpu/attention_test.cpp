// kv_write and attention over the paged cache, against f64 on the values that the cache holds.
#include <algorithm>
#include <cmath>

#include "backends/cpu/kv_layout.h"
#include "quant/decode.h"
#include "tests/cpu/attention_case.h"
#include "tests/cpu/harness.h"

using namespace lm;
using namespace lm::test;

namespace {

// The cached key or value of a token, as the cache rounded it: item by item from its place.
std::vector<float> cached(const AttentionCase& data, const PagedAttention& paged, bool key,
                          size_t seq, int position, int64_t head) {
  const AttentionSetup& s = data.setup;
  const cpu::KvLayoutOfHead layout{s.kv, s.block_size, s.head_dim};
  const int64_t block = data.table[seq * size_t(data.max_blocks) + size_t(position / s.block_size)];
  const int64_t token = position % s.block_size;
  const std::byte* base = (key ? paged.k_cache() : paged.v_cache()).tensor().data() +
                          (block * s.n_kv_heads + head) * layout.bytes();
  const int64_t bytes = layout.value_bytes();  // of a dimension
  const int64_t together = layout.key_item_bytes() / bytes;
  std::vector<float> values(static_cast<size_t>(s.head_dim));
  for (int64_t d = 0; d < s.head_dim; ++d) {
    const std::byte* p = base + (key ? layout.key(d / together, token) + d % together * bytes
                                     : layout.value(token) + d * bytes);
    float& value = values[size_t(d)];
    if (s.kv == DType::q8_0) {
      float scale = 0;
      decode(DType::f16, base + layout.scale(d / 32, token), &scale, 1);
      value = scale * float(int8_t(*p));
    } else {
      decode(s.kv, p, &value, 1);
    }
  }
  return values;
}

// One head of one row in f64. `bound` is the error that f32 may add: see below.
std::vector<double> reference(const AttentionCase& data, const PagedAttention& paged, size_t seq,
                              int position, int64_t head, double& bound) {
  const AttentionSetup& s = data.setup;
  const int64_t kv_head = head / (s.n_heads / s.n_kv_heads);
  const float* query =
      data.q.data() + ((data.first_token[seq] + position) * s.n_heads + head) * s.head_dim;
  const int begin = s.window > 0 ? std::max(0, position - s.window + 1) : 0;
  std::vector<double> scores;
  double score_error = 0, largest_value = 0;
  for (int p = begin; p <= position; ++p) {
    const std::vector<float> key = cached(data, paged, true, seq, p, kv_head);
    double dot = 0, size = 0, key_size = 0, largest_query = 0;
    for (int64_t d = 0; d < s.head_dim; ++d) {
      dot += double(query[d]) * key[size_t(d)];
      size += std::abs(double(query[d]) * key[size_t(d)]);
      key_size += std::abs(double(key[size_t(d)]));
      largest_query = std::max(largest_query, std::abs(double(query[d])));
    }
    dot *= double(data.scale());
    double error = double(s.head_dim + 8) * kRounding * size;
    if (s.kv == DType::q8_0) error += largest_query / 65534 * key_size;  // 16-bit queries
    score_error = std::max(score_error, error * double(data.scale()));
    if (s.softcap > 0) {
      dot = s.softcap * std::tanh(dot / s.softcap);
      score_error += 4e-7 * s.softcap;
    }
    scores.push_back(dot);
  }
  double m = *std::max_element(scores.begin(), scores.end());
  if (s.sinks) m = std::max(m, double(data.sinks[size_t(head)]));
  double sum = s.sinks ? std::exp(double(data.sinks[size_t(head)]) - m) : 0;
  std::vector<double> out(static_cast<size_t>(s.head_dim), 0);
  for (int p = begin; p <= position; ++p) {
    const double weight = std::exp(scores[size_t(p - begin)] - m);
    sum += weight;
    const std::vector<float> value = cached(data, paged, false, seq, p, kv_head);
    for (int64_t d = 0; d < s.head_dim; ++d) {
      out[size_t(d)] += weight * value[size_t(d)];
      largest_value = std::max(largest_value, std::abs(double(value[size_t(d)])));
    }
  }
  for (double& x : out) x /= sum;
  // Each weight is off by 2·score_error relatively (numerator and sum) and exp's 4u; adding n of
  // them, merging segments and dividing rounds (n + 16) times; all times at most max|v|.
  bound = (2 * score_error + double(scores.size() + 20) * kRounding) * largest_value;
  return out;
}

void check_attention(Backend& backend, const AttentionCase& data, const std::vector<int>& rows) {
  PagedAttention paged(backend, data);
  const std::vector<float> got = paged.attend(rows, 2);
  const AttentionSetup& s = data.setup;
  size_t at = 0;
  for (size_t seq = 0; seq < rows.size(); ++seq) {
    for (int p = data.kv_len[seq] - rows[seq]; p < data.kv_len[seq]; ++p) {
      for (int64_t head = 0; head < s.n_heads; ++head) {
        double bound = 0;
        for (const double expected : reference(data, paged, seq, p, head, bound)) {
          REQUIRE(std::abs(got[at++] - expected) <= bound);
        }
      }
    }
  }
}

std::vector<AttentionSetup> setups() {
  return {
      {.head_dim = 32, .kv = DType::f32},
      {.n_heads = 3, .n_kv_heads = 1, .head_dim = 6, .block_size = 5, .kv = DType::f32},
      {.n_heads = 8},
      {.head_dim = 34},
      {.kv = DType::q8_0},
      {.head_dim = 32, .kv = DType::f32, .softcap = 5},
      {.head_dim = 32, .window = 37},
      {.head_dim = 80, .kv = DType::f32, .window = 300, .sinks = true},
  };
}

// Few KV heads, so that the segments of one sequence go to several threads.
std::vector<AttentionSetup> chunk_setups() {
  return {
      {.n_heads = 5, .n_kv_heads = 1, .block_size = 32},
      {.n_heads = 4, .n_kv_heads = 2, .head_dim = 96, .block_size = 32, .kv = DType::q8_0},
      {.n_heads = 2, .head_dim = 80, .kv = DType::f32, .window = 700},
      {.n_heads = 3, .n_kv_heads = 1, .block_size = 24, .kv = DType::q8_0},
  };
}

std::unique_ptr<Backend> open_wide(std::string_view isa, int n_threads) {
  auto backend = open_cpu(isa, n_threads);
  StepLimits limits = test_limits();
  limits.n_heads = 9;
  limits.head_dim = 256;
  require_ok(backend->reserve(limits));
  return backend;
}

}  // namespace

TEST_CASE("attention: caches, groups, windows, sinks and caps, against f64") {
  for_each_isa([&](std::string_view isa) {
    const auto backend = open_cpu(isa, 2);
    for (const AttentionSetup& s : setups()) {
      INFO("head_dim ", s.head_dim, " kv ", std::string(dtype_name(s.kv)), " window ", s.window);
      check_attention(*backend, AttentionCase(s, {1, 600, 40, 257}, 31), {1, 3, 40, 1});
    }
  });
}

// Each group size with some head size, in each type: what a kernel carries at once, and its tails.
TEST_CASE("attention: every group and head size, against f64") {
  const int64_t head_dims[] = {64, 80, 96, 128, 256};
  const DType types[] = {DType::f32, DType::f16, DType::q8_0};
  for_each_isa([&](std::string_view isa) {
    const auto backend = open_wide(isa, 3);
    for (int64_t group = 1; group <= 9; ++group) {
      for (size_t type = 0; type < 3; ++type) {
        AttentionSetup s{.n_heads = group, .n_kv_heads = 1, .block_size = 32, .kv = types[type]};
        s.head_dim = head_dims[size_t(group + 2 * int64_t(type)) % 5];
        if (s.kv == DType::q8_0 && s.head_dim == 80) s.head_dim = 160;
        s.window = group % 3 == 0 ? 100 : 0;
        s.sinks = group % 2 == 0;
        INFO("group ", group, " head_dim ", s.head_dim, " kv ", std::string(dtype_name(s.kv)));
        check_attention(*backend, AttentionCase(s, {290, 17}, 35), {2, 17});
      }
    }
  });
}

// A prompt in one step, in chunks and token by token; one sequence over several threads.
TEST_CASE("attention: any cut into chunks and any threads give the same bits") {
  for_each_isa([&](std::string_view isa) {
    for (const AttentionSetup& s : chunk_setups()) {
      INFO("head_dim ", s.head_dim, " kv ", std::string(dtype_name(s.kv)), " window ", s.window);
      const int length = 1300, from = 1210;  // across the end of a segment of keys
      const AttentionCase data(s, {length}, 36);
      std::vector<float> whole;
      for (const int threads : {1, 2, 4}) {
        const auto backend = open_wide(isa, threads);
        PagedAttention paged(*backend, data);
        const std::vector<float> all = paged.attend({length - from});
        if (whole.empty()) whole = all;
        REQUIRE(same_bits(all, whole));
        for (const int chunk : {1, 9, 50}) {
          std::vector<float> parts;
          for (int first = from; first < length; first += chunk) {
            // Single rows are many: a few of them.
            if (chunk == 1 && first > from + 3) break;
            const int end = std::min(first + chunk, length);
            const std::vector<float> part = paged.attend({end - first}, std::vector<int>{end});
            parts.insert(parts.end(), part.begin(), part.end());
          }
          REQUIRE(std::memcmp(parts.data(), whole.data(), parts.size() * 4) == 0);
        }
      }
    }
  });
}

// A later row of the step whose key and value are not numbers spoils no earlier one.
TEST_CASE("attention: rows do not meet keys that they do not see") {
  for_each_isa([&](std::string_view isa) {
    for (const DType type : {DType::f32, DType::f16, DType::q8_0}) {
      INFO("kv ", std::string(dtype_name(type)));
      const auto backend = open_cpu(isa, 2);
      const AttentionSetup s{.kv = type, .window = 200};
      const AttentionCase good(s, {300}, 37);
      AttentionCase bad = good;
      const size_t width = size_t(s.n_kv_heads * s.head_dim);
      // Token 299 is later than the rows before it; token 60 lies before the last rows' windows.
      for (const size_t token : {size_t(299), size_t(60)}) {
        std::fill_n(bad.k.begin() + std::ptrdiff_t(token * width), width, NAN);
        std::fill_n(bad.v.begin() + std::ptrdiff_t(token * width), width, NAN);
      }
      const std::vector<float> expected = PagedAttention(*backend, good).attend({50}),
                               got = PagedAttention(*backend, bad).attend({50});
      const size_t row = size_t(s.n_heads * s.head_dim);
      // Rows at 250..259 see token 60, the row at 299 itself.
      REQUIRE(std::isnan(got[0]));
      REQUIRE(std::isnan(got[49 * row]));
      REQUIRE(std::memcmp(got.data() + 10 * row, expected.data() + 10 * row, 39 * row * 4) == 0);
    }
  });
}

TEST_CASE("attention: paged is contiguous, a batch is its rows, for any threads: bit for bit") {
  for_each_isa([&](std::string_view isa) {
    for (const AttentionSetup& s : setups()) {
      INFO("head_dim ", s.head_dim, " kv ", std::string(dtype_name(s.kv)), " window ", s.window);
      std::vector<float> first;
      for (const int threads : {1, 2, 5}) {
        const auto backend = open_cpu(isa, threads);
        const AttentionCase data(s, {270, 33}, 32);
        PagedAttention paged(*backend, data);
        AttentionSetup whole = s;
        whole.block_size = 512;  // each sequence in one block
        const AttentionCase in_one_block(whole, {270, 33}, 32, false);
        PagedAttention contiguous(*backend, in_one_block);
        const std::vector<float> all = paged.attend({19, 33});
        REQUIRE(same_bits(all, contiguous.attend({19, 33})));
        if (first.empty()) first = all;
        REQUIRE(same_bits(all, first));
        // The last row of each sequence, alone and together.
        const size_t width = size_t(s.n_heads * s.head_dim);
        const std::vector<float> last = paged.attend({1, 1});
        const std::vector<float> alone = paged.attend({1, 0});
        REQUIRE(std::memcmp(last.data(), all.data() + 18 * width, width * 4) == 0);
        REQUIRE(std::memcmp(last.data() + width, all.data() + 51 * width, width * 4) == 0);
        REQUIRE(std::memcmp(alone.data(), last.data(), width * 4) == 0);
      }
    }
  });
}

TEST_CASE("attention: blocks that a window has freed are not touched") {
  for_each_isa([&](std::string_view isa) {
    const auto backend = open_cpu(isa, 2);
    AttentionCase data({.window = 20}, {400}, 33);
    PagedAttention paged(*backend, data);
    const std::vector<float> before = paged.attend({2});
    for (int b = 0; b < (399 - 20) / data.setup.block_size; ++b) data.table[size_t(b)] = -1;
    REQUIRE(same_bits(before, paged.attend({2})));
  });
}

TEST_CASE("kv_write: a row without a slot is not stored") {
  for_each_isa([&](std::string_view isa) {
    const auto backend = open_cpu(isa, 2);
    Random random(34);
    for (const DType type : {DType::f32, DType::f16, DType::q8_0}) {
      const Guarded k(*backend, {1, 2, 2, 32}, random_floats(128, random));
      const Guarded cache(*backend, {2, 2, 4, 32}, type), other(*backend, {2, 2, 4, 32}, type);
      const Guarded slots(*backend, {1, 1, 1, 2}, std::vector<int32_t>{-1, 5});
      StepView step;
      step.n_tokens = 2;
      step.block_size = 4;
      step.slots = slots;
      backend->kv_write({.k = k, .v = k, .k_cache = cache, .v_cache = other}, step);
      REQUIRE(cache.guards_intact());
      REQUIRE(other.guards_intact());
      // Block 1, token 1 of both heads alone: as many bytes as it has, the others as they were.
      const size_t head = 4 * row_bytes(type, 32), stored = row_bytes(type, 32);
      for (const Guarded* g : {&cache, &other}) {
        for (size_t h = 0; h < 4; ++h) {
          const std::byte* p = g->tensor().data() + h * head;
          const auto n = size_t(std::count(p, p + head, std::byte{0xA5}));
          INFO("head ", h, " of ", std::string(dtype_name(type)));
          // A byte that is written may happen to be the guard's.
          if (h < 2) REQUIRE(n == head);
          if (h >= 2) REQUIRE((n >= head - stored && n <= head - stored + 8));
        }
      }
    }
  });
}
