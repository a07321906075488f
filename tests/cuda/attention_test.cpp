// Attention over the paged cache, compared with the CPU backend's scalar table (whose own error f64
// bounds: tests/cpu), and with itself: in other company, cut otherwise, on other blocks.
#include <algorithm>
#include <cmath>

#include "tests/cpu/attention_case.h"
#include "tests/cpu/harness.h"
#include "tests/cuda/rig.h"

using namespace lm;
using namespace lm::test;

namespace {

double largest(const std::vector<float>& x) {
  double m = 0;
  for (const float a : x) m = std::max(m, std::abs(double(a)));
  return m;
}

// How far the output of one row and head may be from the CPU's. A score is a sum of head_dim
// products of a query and a key; rounding queries to halves (2^-11) and, on the CPU, to 16-bit
// integers, changes it by that much of Σ|q k|. A change of all scores by e changes each weight by
// at most 2e relatively; weights as halves add 2^-11 each; the sums of f32 round n times.
double bound_of(const AttentionCase& d, size_t seq, int position, int64_t head,
                double largest_value) {
  const AttentionSetup& s = d.setup;
  const int64_t kv_head = head / (s.n_heads / s.n_kv_heads);
  const float* query =
      d.q.data() + ((d.first_token[seq] + position) * s.n_heads + head) * s.head_dim;
  const int begin = s.window > 0 ? std::max(0, position - s.window + 1) : 0;
  double most = 0;
  for (int p = begin; p <= position; ++p) {
    const float* key =
        d.k.data() + ((d.first_token[seq] + p) * s.n_kv_heads + kv_head) * s.head_dim;
    double size = 0;
    for (int64_t i = 0; i < s.head_dim; ++i) size += std::abs(double(query[i]) * key[i]);
    most = std::max(most, size);
  }
  const double half = s.kv == DType::f32 ? 0 : 1.0 / 2048;
  const double sixteen = s.kv == DType::q8_0 ? 1.0 / 8192 : 0;  // largest / 65534, and some more
  const double rounding = double(s.head_dim + 8) * kRounding;
  const double score =
      (half + sixteen + 2 * rounding) * most * double(d.scale()) + 1e-6 * s.softcap;
  return (2 * score + 2 * half + 2 * double(position - begin + 40) * kRounding) * largest_value;
}

StepLimits wide_limits() {
  StepLimits limits = test_limits();
  limits.n_heads = 16;
  limits.head_dim = 256;
  limits.max_tokens = 2000;
  limits.max_seqs = 70;
  return limits;
}

void check_like_cpu(Backend& cuda, const AttentionCase& data, const std::vector<int>& rows) {
  const auto cpu = open_cpu("scalar", 1);
  require_ok(cpu->reserve(wide_limits()));
  PagedAttention reference(*cpu, data), paged(cuda, data);
  const std::vector<float> expected = reference.attend(rows, 2);
  const double largest_value = largest(data.v);
  for_each_schedule([&] {
    const std::vector<float> got = paged.attend(rows, 2);
    size_t at = 0;
    for (size_t seq = 0; seq < rows.size(); ++seq) {
      for (int p = data.kv_len[seq] - rows[seq]; p < data.kv_len[seq]; ++p) {
        for (int64_t head = 0; head < data.setup.n_heads; ++head) {
          const double bound = bound_of(data, seq, p, head, largest_value);
          for (int64_t d = 0; d < data.setup.head_dim; ++d, ++at) {
            REQUIRE(std::abs(double(got[at]) - double(expected[at])) <= bound);
          }
        }
      }
    }
  });
}

std::unique_ptr<Backend> ready(std::unique_ptr<Backend> backend) {
  if (backend != nullptr) require_ok(backend->reserve(wide_limits()));
  return backend;
}
#define LM_READY_CUDA(variable)                                 \
  const std::unique_ptr<Backend> variable = ready(open_cuda()); \
  if (variable == nullptr) LM_SKIP("no CUDA device")

}  // namespace

TEST_CASE("cuda attention: caches, groups, windows, sinks and caps, like the CPU's") {
  LM_READY_CUDA(cuda);
  const AttentionSetup setups[] = {
      {.kv = DType::f32},
      {.n_heads = 3, .n_kv_heads = 1, .head_dim = 6, .block_size = 5, .kv = DType::f32},
      {.head_dim = 34},
      {.n_heads = 6, .n_kv_heads = 2},
      {.kv = DType::q8_0},
      {.block_size = 32, .softcap = 5},
      {.block_size = 32, .window = 37},
      {.head_dim = 80, .window = 270, .sinks = true},
      {.n_heads = 3, .n_kv_heads = 1, .block_size = 24, .kv = DType::q8_0, .sinks = true},
  };
  for (const AttentionSetup& s : setups) {
    INFO(name_of(s));
    check_like_cpu(*cuda, AttentionCase(s, {1, 530, 20, 257}, 131), {1, 3, 0, 1});
  }
}

// Of every size that some kernel takes in another way: few and many queries of a KV head.
TEST_CASE("cuda attention: heads of any size in any type, like the CPU's") {
  LM_READY_CUDA(cuda);
  int variant = 0;
  for (const int64_t head_dim : {6, 32, 48, 100, 112, 120, 160, 192, 224, 256}) {
    for (const DType type : {DType::f32, DType::f16, DType::q8_0}) {
      if (type == DType::q8_0 && head_dim % 32 != 0) continue;
      ++variant;
      AttentionSetup s{
          .n_heads = 1 + variant % 5, .n_kv_heads = 1, .head_dim = head_dim, .kv = type};
      s.block_size = variant % 2 == 0 ? 16 : 24;
      s.window = variant % 3 == 0 ? 290 : 0;
      s.softcap = variant % 4 == 0 ? 6 : 0;
      s.sinks = variant % 5 == 0;
      INFO(name_of(s));
      check_like_cpu(*cuda, AttentionCase(s, {300, 17}, 144), {1 + variant % 6, 2});
    }
  }
}

TEST_CASE("cuda attention: heads of more dimensions than any kernel has, like the CPU's") {
  LM_READY_CUDA(cuda);
  const AttentionSetup s{.n_heads = 2, .n_kv_heads = 1, .head_dim = 320, .kv = DType::f32};
  const auto cpu = open_cpu("scalar", 1);
  StepLimits limits = wide_limits();
  limits.head_dim = 320;
  require_ok(cpu->reserve(limits));
  const AttentionCase data(s, {40}, 145);
  PagedAttention reference(*cpu, data), paged(*cuda, data);
  const std::vector<float> expected = reference.attend({2}), got = paged.attend({2});
  for (size_t i = 0; i < got.size(); ++i) {
    REQUIRE(std::abs(got[i] - expected[i]) <= 1e-4f * float(largest(data.v)));
  }
}

// Each group with some size of head, in each type: what a kernel carries at once, and its tails.
TEST_CASE("cuda attention: every group and head size, like the CPU's") {
  LM_READY_CUDA(cuda);
  const int64_t head_dims[] = {64, 80, 96, 128, 256};
  const DType types[] = {DType::f16, DType::q8_0};
  for (int64_t group = 1; group <= 9; ++group) {
    for (size_t type = 0; type < 2; ++type) {
      AttentionSetup s{.n_heads = group, .n_kv_heads = 1, .block_size = 32, .kv = types[type]};
      s.head_dim = head_dims[size_t(group + 2 * int64_t(type)) % 5];
      if (s.kv == DType::q8_0 && s.head_dim == 80) s.head_dim = 160;
      s.window = group % 3 == 0 ? 100 : 0;
      s.sinks = group % 2 == 0;
      INFO(name_of(s));
      check_like_cpu(*cuda, AttentionCase(s, {290, 17}, 135), {2, 5});
    }
  }
}

TEST_CASE("cuda attention: prompts and decoding rows in one step, like the CPU's") {
  LM_READY_CUDA(cuda);
  const AttentionSetup setups[] = {
      {.n_heads = 8, .block_size = 32},
      {.n_heads = 3, .n_kv_heads = 1, .head_dim = 128, .window = 50, .sinks = true},
      {.n_heads = 2, .n_kv_heads = 2, .head_dim = 96, .kv = DType::q8_0, .softcap = 8},
  };
  for (const AttentionSetup& s : setups) {
    INFO(name_of(s));
    check_like_cpu(*cuda, AttentionCase(s, {150, 40, 33, 270}, 136), {70, 1, 33, 2});
  }
}

// Prompts of each head size, type and group, around the tiles of queries and keys. Some sizes have
// no kernel of their own: theirs is that of more dimensions.
TEST_CASE("cuda attention: prompts of every head size, like the CPU's") {
  LM_READY_CUDA(cuda);
  const int64_t head_dims[] = {64, 80, 96, 128, 256, 8, 32, 112, 120, 160, 192};
  int variant = 0;
  for (const int64_t head_dim : head_dims) {
    for (const DType type : {DType::f16, DType::q8_0}) {
      if (type == DType::q8_0 && head_dim % 32 != 0) continue;
      ++variant;
      AttentionSetup s{
          .n_heads = 1 + variant % 4, .n_kv_heads = 1, .head_dim = head_dim, .kv = type};
      s.block_size = 16 << variant % 3;
      s.window = variant % 3 == 0 ? 30 : 0;
      s.sinks = variant % 2 == 0;
      INFO(name_of(s));
      check_like_cpu(*cuda, AttentionCase(s, {17, 150}, 142), {17, 40 + variant});
    }
  }
}

TEST_CASE("cuda attention: any cut of a prompt into chunks gives the same bits") {
  LM_READY_CUDA(cuda);
  for (const AttentionSetup& s :
       {AttentionSetup{.n_heads = 6},
        AttentionSetup{
            .n_heads = 3, .n_kv_heads = 1, .head_dim = 128, .kv = DType::q8_0, .window = 40},
        AttentionSetup{.n_heads = 2, .n_kv_heads = 1, .head_dim = 120}}) {
    const AttentionCase data(s, {200}, 143);
    PagedAttention paged(*cuda, data);
    const std::vector<float> whole = paged.attend({150});
    std::vector<float> parts;
    for (int first = 50; first < 200; first += 25) {
      const std::vector<float> part = paged.attend({25}, std::vector<int>{first + 25});
      parts.insert(parts.end(), part.begin(), part.end());
    }
    REQUIRE(same_bits(parts, whole));
  }
}

// A device of less shared memory takes fewer queries of a prompt at a time.
TEST_CASE("cuda attention: every kind of device gives the same bits") {
  LM_READY_CUDA(cuda);
  for (const int64_t head_dim : {64, 96, 128}) {
    for (const DType type : {DType::f16, DType::q8_0}) {
      const AttentionSetup s{.n_heads = 6, .n_kv_heads = 2, .head_dim = head_dim, .kv = type};
      INFO(name_of(s));
      const AttentionCase data(s, {170}, 146);
      const std::vector<float> expected = PagedAttention(*cuda, data).attend({90});
      for_each_device_kind([&] {
        const auto other = ready(open_cuda());
        REQUIRE(other != nullptr);
        REQUIRE(same_bits(PagedAttention(*other, data).attend({90}), expected));
      });
    }
  }
}

// Scores so far apart that one key takes all the weight.
TEST_CASE("cuda attention: large scores, like the CPU's") {
  LM_READY_CUDA(cuda);
  for (const DType type : {DType::f16, DType::q8_0}) {
    const AttentionSetup s{.kv = type, .query_scale = 60};
    check_like_cpu(*cuda, AttentionCase(s, {300, 40}, 137), {3, 40});
  }
}

TEST_CASE("cuda attention: a row's bits depend on neither company, draft rows nor blocks") {
  LM_READY_CUDA(cuda);
  const AttentionSetup setups[] = {
      {.n_heads = 8, .n_kv_heads = 2, .block_size = 32},
      {.n_heads = 5, .n_kv_heads = 1, .head_dim = 128, .window = 300},
      {.n_heads = 6, .n_kv_heads = 2, .head_dim = 96, .kv = DType::q8_0},
      {.head_dim = 80, .kv = DType::f32, .sinks = true},
      {.n_heads = 7, .n_kv_heads = 1, .head_dim = 120, .block_size = 32, .window = 300},
      {.head_dim = 192, .kv = DType::q8_0},
      {.head_dim = 6, .block_size = 8, .kv = DType::f32},
  };
  for (const AttentionSetup& s : setups) {
    INFO(name_of(s));
    const AttentionCase data(s, {600, 40}, 132);
    AttentionSetup other_blocks = s;
    other_blocks.block_size = 64;
    const AttentionCase elsewhere(other_blocks, {600, 40}, 132);
    PagedAttention paged(*cuda, data), moved(*cuda, elsewhere);
    for_each_schedule([&] {
      const std::vector<float> all = paged.attend({8, 5});
      REQUIRE(same_bits(all, moved.attend({8, 5})));
      const size_t width = size_t(s.n_heads * s.head_dim);
      const auto same = [&](const std::vector<float>& part, size_t row_of_part, size_t row_of_all) {
        return std::memcmp(part.data() + row_of_part * width, all.data() + row_of_all * width,
                           width * 4) == 0;
      };
      const std::vector<float> last = paged.attend({1, 1}), alone = paged.attend({1, 0});
      REQUIRE(same(last, 0, 7));
      REQUIRE(same(last, 1, 12));
      REQUIRE(same(alone, 0, 7));
      // As rows that are decoded one after the other, and two together.
      for (int row = 0; row < 8; row += 3) {
        REQUIRE(same(paged.attend({1, 0}, {600 - 7 + row, 40}), 0, size_t(row)));
      }
      REQUIRE(same(paged.attend({2, 0}, {600 - 3, 40}), 0, 3));
    });
  }
}

// Without scratch memory for the parts of the keys, one block of threads reduces and merges all.
TEST_CASE("cuda attention: a row's bits do not depend on the memory that was reserved") {
  LM_READY_CUDA(cuda);
  for (const AttentionSetup& s :
       {AttentionSetup{.n_heads = 8},
        AttentionSetup{
            .n_heads = 6, .head_dim = 128, .kv = DType::q8_0, .window = 700, .sinks = true},
        AttentionSetup{.n_heads = 8, .head_dim = 40, .kv = DType::f32, .sinks = true}}) {
    const AttentionCase data(s, {1000, 30, 520}, 138);
    PagedAttention paged(*cuda, data);
    for_each_schedule([&] {
      require_ok(cuda->reserve(wide_limits()));
      const std::vector<float> split = paged.attend({3, 2, 1});
      for (const int most_rows : {0, 1}) {  // room for no parts, and for those of some sequences
        StepLimits limits = wide_limits();
        limits.max_tokens = most_rows;
        limits.n_heads = 1;
        limits.head_dim = int(s.head_dim);
        require_ok(cuda->reserve(limits));
        REQUIRE(same_bits(split, paged.attend({3, 2, 1})));
      }
    });
  }
}

// More sequences than a warp has lanes.
TEST_CASE("cuda attention: many sequences, like the CPU's") {
  LM_READY_CUDA(cuda);
  std::vector<int> lengths, rows;
  for (int i = 0; i < 70; ++i) {
    lengths.push_back(i % 9 == 4 ? 270 : 1 + i % 7);
    rows.push_back(i % 5 == 0 ? 0 : 1);
  }
  check_like_cpu(*cuda, AttentionCase({.n_heads = 2, .n_kv_heads = 1}, lengths, 139), rows);
}

// Far keys are cut into longer parts.
TEST_CASE("cuda attention: a long context, like the CPU's, whatever was reserved") {
  LM_READY_CUDA(cuda);
  for (const DType type : {DType::f16, DType::f32}) {
    const AttentionSetup s{.n_heads = 2,
                           .n_kv_heads = 1,
                           .head_dim = type == DType::f16 ? 64 : 32,
                           .block_size = 32,
                           .kv = type};
    const AttentionCase data(s, {34500}, 140);
    const auto cpu = open_cpu("scalar", 1);
    StepLimits limits = wide_limits();
    limits.max_tokens = 40000;
    require_ok(cpu->reserve(limits));
    require_ok(cuda->reserve(wide_limits()));
    PagedAttention reference(*cpu, data), paged(*cuda, data);
    const std::vector<float> expected = reference.attend({2}), got = paged.attend({2});
    const double largest_value = largest(data.v);
    for (size_t i = 0; i < got.size(); ++i) {
      const size_t query = i / size_t(s.head_dim);
      const double bound =
          bound_of(data, 0, 34498 + int(query / 2), int64_t(query % 2), largest_value);
      REQUIRE(std::abs(double(got[i]) - double(expected[i])) <= bound);
    }
    limits.max_tokens = 0;
    require_ok(cuda->reserve(limits));
    REQUIRE(same_bits(got, paged.attend({2})));
  }
}

TEST_CASE("cuda attention: blocks that a window has freed are not touched") {
  LM_READY_CUDA(cuda);
  AttentionCase data({.window = 20}, {400}, 133);
  PagedAttention paged(*cuda, data);
  const std::vector<float> before = paged.attend({2}), prompt = paged.attend({40});
  for (int b = 0; b < (399 - 20 - 40) / data.setup.block_size; ++b) data.table[size_t(b)] = -1;
  REQUIRE(same_bits(before, paged.attend({2})));
  REQUIRE(same_bits(prompt, paged.attend({40})));
}
