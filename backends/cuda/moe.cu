// Experts. The rows of x are put in the order of their experts, on the device; then the matrix
// kernels of linear layers multiply each expert's rows, at most 16 at a time, and what a row's
// experts made is summed in order of its choices. A row's bits do not depend on its company.
// Bytes: the chosen experts once for each 16 rows; 12 (d_model + d_ff) for each row and choice.
#include <algorithm>

#include "backends/cuda/activations.cuh"
#include "backends/cuda/gemv_rows.h"
#include "backends/cuda/launch.h"
#include "backends/cuda/matvec.h"
#include "backends/cuda/ops.h"
#include "backends/cuda/planes.h"
#include "backends/cuda/ptx.cuh"
#include "backends/cuda/quantize.h"
#include "backends/op_checks.h"
#include "engine/core/check.h"

namespace lm::cuda {
namespace {

constexpr int64_t kMostRows = 256;  // of x at a time: what scratch memory holds
constexpr int kThreads = 256;

// A place is a row's choice: row · top_k + j.
struct SortParams {
  const int32_t* ids;  // [places]
  int n_places, n_experts;
  int most_rows;  // of an expert, together
  int n_work;     // entries of `work`
  ExpertRows* work;
  int32_t* order;      // [places]  places by expert, those of one in order
  int32_t* positions;  // [places]  where a place is in `order`
};

// use(i) for the places of expert e, in order. Many ids are asked for before the first is used:
// what `use` stores might be ids, for all the compiler knows.
template <class Use>
__device__ inline void for_places(const SortParams& p, int e, const Use& use) {
  constexpr int kAhead = 16;
  for (int first = 0; first < p.n_places; first += kAhead) {
    int ids[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) ids[i] = first + i < p.n_places ? p.ids[first + i] : -1;
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (ids[i] == e) use(first + i);
    }
  }
}

// One block. Shared: an integer an expert. Work: places · experts / threads, twice.
__global__ void __launch_bounds__(kThreads) sort_places(const SortParams p) {
  LM_SHARED(int, counts);
  wait_for_previous_kernel();
  allow_next_kernel();
  for (int e = int(threadIdx.x); e < p.n_experts; e += kThreads) {
    int count = 0;
    for_places(p, e, [&](int) { ++count; });
    counts[e] = count;
  }
  __syncthreads();
  for (int e = int(threadIdx.x); e < p.n_experts; e += kThreads) {
    int first = 0, work = 0;
    for (int other = 0; other < e; ++other) {
      first += counts[other];
      work += (counts[other] + p.most_rows - 1) / p.most_rows;
    }
    int at = first;
    for_places(p, e, [&](int i) {
      p.order[at] = i;
      p.positions[i] = at++;
    });
    const int end = first + counts[e];
    for (; first < end; first += p.most_rows) {
      p.work[work++] = {e, first, min(p.most_rows, end - first)};
    }
    if (e == p.n_experts - 1) {
      for (; work < p.n_work; ++work) p.work[work] = {0, 0, 0};
    }
  }
}

struct PairsParams {
  float* gate;  // becomes act(gate) * up
  const float* up;
  int64_t n;
  Act act;
  float limit;
};

__global__ void __launch_bounds__(kThreads) glu_pairs(const PairsParams p) {
  wait_for_previous_kernel();
  allow_next_kernel();
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < p.n) p.gate[i] = gated(p.act, p.limit, p.gate[i], p.up[i]);
}

struct CombineParams {
  const float* y;            // [places, d_model] in the order of experts
  const int32_t* positions;  // null: in order of places
  const float* weights;
  float* out;
  int64_t weights_stride, out_stride;
  int d_model, top_k;
};

// Grid: columns, rows. out += Σ_j weights[j] y_j, in order of j.
__global__ void __launch_bounds__(kThreads) combine(const CombineParams p) {
  wait_for_previous_kernel();
  allow_next_kernel();
  const int column = int(blockIdx.x) * kThreads + int(threadIdx.x);
  const int64_t row = blockIdx.y;
  if (column >= p.d_model) return;
  float* out = p.out + row * p.out_stride + column;
  float sum = *out;
  for (int j = 0; j < p.top_k; ++j) {
    const int64_t place = row * p.top_k + j;
    const int64_t at = p.positions != nullptr ? p.positions[place] : place;
    sum = fmaf(p.weights[row * p.weights_stride + j], p.y[at * p.d_model + column], sum);
  }
  *out = sum;
}

int64_t most_work(int64_t places, int64_t n_experts, int64_t most_rows) {
  return std::min(places, n_experts + places / most_rows);
}
constexpr int64_t rounded(int64_t bytes) {
  return (bytes + 255) / 256 * 256;
}

// Scratch for `places` places.
struct MoeScratch {
  ExpertRows* work;
  int32_t *order, *positions;
  std::byte* quantized;
  float *hidden, *other, *y;

  // Returns the bytes taken; base may be null.
  int64_t lay_out(std::byte* base, int64_t places, int64_t d_model, int64_t d_ff) {
    int64_t at = 0;
    const auto take = [&](auto*& to, int64_t bytes) {
      to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(base + at);
      at += rounded(bytes);
    };
    take(work, places * int64_t(sizeof(ExpertRows)));
    take(order, places * 4);
    take(positions, places * 4);
    take(quantized, quantized_rows_bytes(places, std::max(d_model, d_ff)));
    take(hidden, places * d_ff * 4);
    take(other, places * d_ff * 4);
    take(y, places * d_model * 4);
    return at;
  }
};

// One batch of rows of a MoeFfn.
struct Batch {
  const Context& context;
  const MoeFfn& op;
  MoeScratch scratch;
  int64_t n, top_k, first;  // rows; `first` of op's
  bool sorted;              // more than one row: places are in order of experts

  int64_t places() const { return n * top_k; }
  const int32_t* ids() const { return i32(op.ids) + first * top_k; }

  Experts experts(Tensor weight) const {
    Experts e;
    e.n = int(sorted ? most_work(places(), weight.shape[1], most_rows()) : places());
    e.rows = sorted ? scratch.work : nullptr;
    e.ids = sorted ? nullptr : ids();
    e.matrix_bytes = weight.layout == kLayoutPlanes
                         ? planes_bytes(weight.dtype, weight.shape[2], weight.shape[3])
                         : weight.shape[2] * weight.row_bytes;
    return e;
  }
  int most_rows() const { return n <= 8 ? 8 : kMostDecodeRows; }
};

void sort(const Batch& b) {
  const int n_experts = int(b.op.gate.shape[1]);
  launch(b.context, sort_places, {dim3(1), dim3(kThreads), size_t(n_experts) * sizeof(int)},
         SortParams{.ids = b.ids(),
                    .n_places = int(b.places()),
                    .n_experts = n_experts,
                    .most_rows = b.most_rows(),
                    .n_work = int(most_work(b.places(), n_experts, b.most_rows())),
                    .work = b.scratch.work,
                    .order = b.scratch.order,
                    .positions = b.scratch.positions});
}

MatvecJob job_of(Tensor weight, Tensor bias, float* out) {
  const int64_t m = weight.shape[2];
  LM_CHECK(!bias || bias.row_bytes == m * 4 || bias.rows() == 1);
  return {.weights = reinterpret_cast<const uint8_t*>(weight.data()),
          .m = m,
          .out = out,
          .out_stride = m,
          .bias = bias ? f32(bias) : nullptr};
}

// Whether multiply() takes a stack of matrices.
bool has_matvec(const Batch& b, Tensor weight, const InputRows& x) {
  return weight.layout == kLayoutPlanes || has_halves_matvec(b.context.facts, weight, x);
}

// The first n_rows rows of params.input, in its order, times a stack of matrices.
void multiply(const Batch& b, Tensor weight, int64_t n_rows, MatvecParams& params) {
  const int64_t k = weight.shape[3];
  const bool wide = b.sorted && b.most_rows() > 8;
  if (weight.layout != kLayoutPlanes) {
    params.tile_bytes = weight.row_bytes * kTileRows;
    return halves_matvec(b.context, weight.dtype, params, wide);
  }
  params.x = quantized_rows(b.scratch.quantized, n_rows, k);
  quantize_rows(b.context, params.input.x, params.input.stride, k, params.x, params.input_order);
  params.input = {};
  params.tile_bytes = tile_bytes(weight.dtype, k);
  count_items(params, kTilesPerBlock);
  matvec_of(weight.dtype, wide)(b.context, params, segments_of(k));
}

InputRows input_of(const float* x, int64_t stride, int64_t k) {
  return {.x = x, .stride = stride, .k = int(k), .aligned = rows_aligned(x, stride)};
}

ExpertGemv gemv_of(const Batch& b, Tensor weight, Tensor bias, float* out) {
  return {.weight = weight,
          .bias = bias,
          .ids = b.ids(),
          .order = b.sorted ? b.scratch.order : nullptr,
          .places = b.places(),
          .out = out};
}

// hidden = act(gate x) * up x, a row a place.
void gate_and_up(const Batch& b) {
  const MoeFfn& op = b.op;
  const float* x = f32(op.x) + b.first * f32_stride(op.x);
  const int64_t d_model = op.x.cols(), d_ff = op.gate.shape[2];
  const InputRows input = input_of(x, f32_stride(op.x), d_model);
  if (!has_matvec(b, op.gate, input) || !has_matvec(b, op.up, input)) {
    ExpertGemv gate = gemv_of(b, op.gate, op.gate_bias, b.scratch.hidden);
    gate.x = x;
    gate.x_stride = f32_stride(op.x);
    gate.x_divisor = int(b.top_k);
    ExpertGemv up = gate;
    up.weight = op.up;
    up.bias = op.up_bias;
    up.out = b.scratch.other;
    expert_gemv(b.context, gate);
    expert_gemv(b.context, up);
    const PairsParams pairs = {b.scratch.hidden, b.scratch.other, b.places() * d_ff, op.act,
                               op.limit};
    launch(b.context, glu_pairs,
           {dim3(unsigned((pairs.n + kThreads - 1) / kThreads)), dim3(kThreads)}, pairs);
    return;
  }
  MatvecParams params;
  params.input = input;
  params.input_order = {.places = b.sorted ? b.scratch.order : nullptr, .divisor = int(b.top_k)};
  params.experts = b.experts(op.gate);
  params.experts.shares_x = true;
  params.n_jobs = 2;
  params.jobs[0] = job_of(op.gate, op.gate_bias, b.scratch.hidden);
  params.jobs[1] = job_of(op.up, op.up_bias, nullptr);
  params.glu = true;
  params.act = op.act;
  params.limit = op.limit;
  multiply(b, op.gate, b.sorted ? b.places() : 1, params);
}

// y = down hidden, a row a place.
void down(const Batch& b) {
  const MoeFfn& op = b.op;
  const int64_t d_ff = op.down.shape[3];
  const InputRows input = input_of(b.scratch.hidden, d_ff, d_ff);
  if (!has_matvec(b, op.down, input)) {
    ExpertGemv gemv = gemv_of(b, op.down, op.down_bias, b.scratch.y);
    gemv.x = b.scratch.hidden;
    gemv.x_stride = d_ff;
    gemv.x_by_position = true;
    expert_gemv(b.context, gemv);
    return;
  }
  MatvecParams params;
  params.input = input;
  params.experts = b.experts(op.down);
  params.n_jobs = 1;
  params.jobs[0] = job_of(op.down, op.down_bias, b.scratch.y);
  multiply(b, op.down, b.places(), params);
}

void combine_places(const Batch& b) {
  const MoeFfn& op = b.op;
  const CombineParams params = {.y = b.scratch.y,
                                .positions = b.sorted ? b.scratch.positions : nullptr,
                                .weights = f32(op.weights) + b.first * f32_stride(op.weights),
                                .out = f32(op.out) + b.first * f32_stride(op.out),
                                .weights_stride = f32_stride(op.weights),
                                .out_stride = f32_stride(op.out),
                                .d_model = int(op.out.cols()),
                                .top_k = int(b.top_k)};
  launch(
      b.context, combine,
      {dim3(unsigned((params.d_model + kThreads - 1) / kThreads), unsigned(b.n)), dim3(kThreads)},
      params);
}

void check_moe(const MoeFfn& op) {
  check_shapes(op);
  LM_CHECK(op.ids.row_bytes == op.ids.cols() * 4 && op.weights.cols() == op.ids.cols());
}

}  // namespace

size_t moe_scratch_bytes(const StepLimits& limits) {
  if (limits.n_experts == 0) return 0;
  MoeScratch scratch{};
  const int64_t d_model = std::min(limits.max_linear_in, limits.max_linear_out);
  const int64_t rows = std::min<int64_t>(limits.max_tokens, kMostRows);
  return size_t(scratch.lay_out(nullptr, rows * limits.top_k, d_model, limits.d_ff_expert));
}

void moe_ffn(const Context& context, const MoeFfn& op) {
  check_moe(op);
  const int64_t top_k = op.ids.cols(), d_model = op.x.cols(), d_ff = op.gate.shape[2];
  for (int64_t first = 0; first < op.x.rows(); first += kMostRows) {
    Batch batch{context, op, {}, std::min(op.x.rows() - first, kMostRows), top_k, first, false};
    batch.sorted = batch.n > 1;
    const int64_t bytes =
        batch.scratch.lay_out(context.memory(Scratch::moe), batch.places(), d_model, d_ff);
    LM_CHECK(size_t(bytes) <= context.scratch.bytes[size_t(Scratch::moe)]);
    if (batch.sorted) sort(batch);
    gate_and_up(batch);
    down(batch);
    combine_places(batch);
  }
}

}  // namespace lm::cuda
