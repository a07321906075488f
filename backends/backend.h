// backends/backend.h — the transformer operations that every device offers.
//
// Contract. Each operation enqueues work in order on the backend's one stream: it does not block,
// allocate, or read device memory. Every tensor of a call lives in this backend's room. What
// changes from step to step (positions, block tables, lengths) is read from device memory through
// StepView, never passed by value, so that a recorded step can be replayed untouched. Shapes are
// checked with LM_CHECK. Activations are f32 and row-major. Every output row is a pure function of
// its own inputs: the same bits alone, in a batch, in prefill or in verification. (A device may
// keep this for steps of few rows only, where many are multiplied in another way: see its ops.h.)
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "backends/tensor.h"
#include "engine/core/result.h"

namespace lm {

// One forward pass over n_tokens rows of n_seqs sequences. All tensors are i32.
struct StepView {
  int n_tokens = 0;
  int n_seqs = 0;
  int block_size = 0;  // tokens in a KV block
  Tensor token_ids;    // [n_tokens]
  Tensor positions;    // [n_tokens]
  Tensor slots;  // [n_tokens]  block * block_size + offset, where the row's K and V go; -1: nowhere
                 // (padding)
  Tensor q_start;  // [n_seqs + 1]  rows of sequence s: [q_start[s], q_start[s+1])
  // [n_seqs]  keys visible to the last row of each sequence. Positions of its rows are consecutive:
  // the last one's is kv_len - 1.
  Tensor kv_len;
  Tensor block_table;  // [n_seqs, max_blocks]  entries past kv_len, or freed by a window, are -1
};

enum class Act : uint8_t {
  silu,
  gelu_tanh,
  gelu_erf,
  swiglu_oai,  // gpt-oss: g' = min(g, limit), u' = clamp(u, ±limit): g'·σ(1.702 g')·(u' + 1)
};

// out = x / sqrt(mean(x²) + eps) * weight, per row of `cols`. out may be x.  (arXiv:1910.07467)
struct RmsNorm {
  Tensor x, weight, out;  // x, out f32 [rows, cols]; weight f32 [cols]
  float eps;
};

// out = x Wᵀ + bias, or out += x Wᵀ + bias.
struct Linear {
  Tensor x, weight, out;  // x f32 [n, k]; weight (loaded as matrix) [m, k]; out f32 [n, m]
  Tensor bias{};          // f32 [m]
  bool accumulate = false;
};

// Rotary embedding (arXiv:2104.09864) of every head's first 2 * n_freqs dimensions, in place:
// the pair (x0, x1) turns by position * inv_freq[i] and is scaled by `magnitude`. Linear, llama3,
// longrope and YaRN scaling are all functions of i and live in inv_freq and magnitude.
struct Rope {
  Tensor q, k;      // f32 [n, heads, head_dim] as shape {1, n, heads, head_dim}
  Tensor inv_freq;  // f32 [n_freqs]
  bool neox;        // pairs are (i, i + n_freqs); otherwise (2i, 2i + 1)
  float magnitude = 1;
};

// Stores each row's K and V at its slot. caches [n_blocks, n_kv_heads, block_size, head_dim] in
// f32, f16 or q8_0 (head_dim then a multiple of 32).
struct KvWrite {
  Tensor k, v;  // f32 {1, n, n_kv_heads, head_dim}
  Tensor k_cache, v_cache;
};

// RMS norms of every head's q and k by themselves (qwen3, gemma3); without weights there are none.
struct HeadNorms {
  Tensor q_weight{}, k_weight{};  // f32 [head_dim]
  float eps = 0;
};

// Causal softmax(q kᵀ · scale) v over the paged cache, GQA: head h reads KV head h / (H / H_kv).
// window > 0: a row at position p sees positions (p - window, p]. softcap > 0: s = cap·tanh(s/cap).
// sinks: one extra logit per head in the softmax's denominator (gpt-oss).
// Keys are reduced in segments at absolute positions, merged in order.
struct Attention {
  Tensor q;  // f32 {1, n, n_heads, head_dim}
  Tensor k_cache, v_cache;
  Tensor out;  // like q; may not be q
  float scale;
  float softcap = 0;
  int window = 0;
  Tensor sinks{};  // f32 [n_heads]
};

// out = act(gate) * up (see Act). out may be gate.
struct Glu {
  Tensor gate, up, out;  // f32 [n, d_ff]
  Act act;
  float limit = 0;  // swiglu_oai
};

// Chooses each row's experts. Scores are softmax (or sigmoid) of logits; the top_k largest
// (ties: lower index first) of score + bias; weights are the chosen scores, normalised to sum 1
// when asked, times scale.
struct MoeRoute {
  Tensor logits;   // f32 [n, n_experts]
  Tensor ids;      // i32 [n, top_k]
  Tensor weights;  // f32 [n, top_k]
  int top_k;
  bool sigmoid = false, normalise = true;
  float scale = 1;
  Tensor bias{};  // f32 [n_experts]
};

// out += Σ_j weights[j] · down_e(act(gate_e x) * up_e x), e = ids[j], summed in order of j.
struct MoeFfn {
  Tensor x, ids, weights, out;  // x, out f32 [n, d_model]
  Tensor gate, up, down;        // matrices {1, n_experts, rows, cols}; gate and up in one format
  Act act;
  float limit = 0;
  Tensor gate_bias{}, up_bias{}, down_bias{};  // f32 [n_experts, rows]
};

// The k largest logits of each row, largest first, ties by the lower id: what most sampling needs,
// so that a whole vocabulary need not leave a device. NaN counts as -inf, +inf as the largest
// number; a row of fewer than k ends with ids of -1.
struct TopCandidates {
  Tensor logits;  // f32 [n, n_vocab]
  Tensor ids;     // i32 [n, k], k <= kMostCandidates
  Tensor values;  // f32 [n, k]
  Tensor totals;  // f32 [n, 2]: the largest logit m, and log Σ exp(logit - m)
};
inline constexpr int kMostCandidates = 128;

// How a token is drawn from candidates: of the top_k largest the first that have the probability
// top_p together, of these the ones with at least min_p times the largest one's, and of those the
// one with the least -log(1 - u) / exp(logit / temperature), u the noise of its id (uniform_noise,
// engine/core/philox.h). Temperature 0: the largest.
struct DrawRule {
  uint64_t seed = 0, position = 0;
  int32_t row = 0;    // of the candidates
  int32_t top_k = 1;  // >= 1
  float temperature = 0, top_p = 1, min_p = 0;
};

// One token for each rule. A guess at what a host draws that has exponentials of its own.
struct DrawTokens {
  Tensor ids, values;  // what TopCandidates found
  Tensor rules;        // i32 [n, kDrawRuleWords]: a DrawRule each
  Tensor tokens;       // i32 [1, n]
};
inline constexpr int64_t kDrawRuleWords = sizeof(DrawRule) / sizeof(int32_t);

// The largest step that will ever be asked for: what a backend sizes its workspace by.
struct StepLimits {
  int max_tokens = 0, max_seqs = 0;
  int64_t max_linear_in = 0, max_linear_out = 0;  // over all matrices, the output one included
  int n_heads = 0, n_kv_heads = 0, head_dim = 0;  // largest over layers
  int n_experts = 0, top_k = 0;
  int64_t d_ff_expert = 0;
};

enum class WeightUse : uint8_t {
  rows,    // read by row (embedding table): kept as in the file
  matrix,  // multiplied: free to be repacked
  vector,  // norms, biases, sinks, frequencies: becomes f32
};

struct WeightShape {
  DType dtype = DType::f32;
  std::array<int64_t, 4> shape{1, 1, 1, 1};  // like Tensor::shape
  WeightUse use = WeightUse::rows;
};

// A tensor in host memory, as a file holds it: contiguous rows.
struct HostTensor {
  DType dtype = DType::f32;
  std::array<int64_t, 4> shape{1, 1, 1, 1};  // like Tensor::shape
  std::span<const std::byte> bytes;  // must outlive the loaded weight (it may be used in place)
  std::string_view name{};           // of the file's tensor; of no meaning but to who watches
};

// Bytes that the rows of `host` take; an error when its shape and its bytes disagree.
Result<uint64_t> checked_bytes(const HostTensor& host);

struct LoadedWeight {
  std::unique_ptr<Buffer> buffer;
  Tensor tensor;  // shape as in the HostTensor
};

// Memory of the host that a backend fills while it goes on with what was enqueued later.
class Landing {
 public:
  virtual ~Landing() = default;
  Landing() = default;
  Landing(const Landing&) = delete;
  Landing& operator=(const Landing&) = delete;

  // Enqueues copies of contiguous tensors to its beginning, one behind the other. What was sent
  // before is lost.
  virtual void send(std::span<const Tensor> tensors) = 0;
  // Waits for the last send(), for nothing later. The error of whatever failed so far.
  virtual Result<std::span<const std::byte>> wait() = 0;
};

// Identifies a step whose recording can be replayed.
struct StepKey {
  uint32_t n_tokens, n_seqs, n_logits;
  bool operator==(const StepKey&) const = default;
};

// The most that this device can do: what a measured speed is compared with.
struct DeviceLimits {
  std::string_view isa;  // the instruction set or architecture that was measured: "avx512"
  int n_threads = 0;     // of a processor
  double read_bytes_per_second = 0;
  double int8_ops_per_second = 0;   // a product and a sum are two
  double f16_flops_per_second = 0;  // of halves into f32; 0: not told apart
  double f32_flops_per_second = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;    // "cpu", "cuda:0"
  virtual std::string_view detail() const = 0;  // "avx512, 2 threads"
  // What the bits of a result depend on: the instruction set, and a number that changes with the
  // arithmetic of any kernel. What was computed under another name is not used again.
  virtual std::string arithmetic() const { return std::string(detail()); }
  virtual Result<std::unique_ptr<Buffer>> alloc(size_t bytes) = 0;  // zeroed on first touch
  virtual Result<LoadedWeight> load_weight(const HostTensor& host, WeightUse use) = 0;
  virtual Status reserve(const StepLimits& limits) = 0;  // workspace; the last thing that allocates
  virtual void upload(Tensor dst, std::span<const std::byte> bytes) = 0;
  // Once reserve() was called too, uploads of at most so many bytes, the inputs of each step, wait
  // for nothing that was enqueued. Others may.
  virtual Status expect_uploads(size_t bytes);
  virtual void download(std::span<std::byte> dst, Tensor src) = 0;  // waits for what was enqueued
  // The tensor's bytes, where the host can read and write them once synchronize() has returned;
  // nullptr: they must be downloaded.
  virtual std::byte* host_view(Tensor) { return nullptr; }
  virtual Status synchronize() = 0;
  // Outlived by the backend.
  virtual Result<std::unique_ptr<Landing>> make_landing(size_t bytes);
  // Whether the host has time for something else while a step is computed: if it has not, a landing
  // is filled when it is sent to, and nothing is won by looking ahead.
  virtual bool asynchronous() const { return false; }

  // out[i] = row ids[i] of the table, times scale. table loaded with WeightUse::rows.
  virtual void embed(Tensor table, Tensor ids, float scale, Tensor out) = 0;
  virtual void rms_norm(const RmsNorm& op) = 0;
  virtual void linear(const Linear& op) = 0;
  virtual void rope(const Rope& op, const StepView& step) = 0;
  virtual void kv_write(const KvWrite& op, const StepView& step) = 0;
  virtual void attention(const Attention& op, const StepView& step) = 0;
  virtual void glu(const Glu& op) = 0;
  virtual void moe_route(const MoeRoute& op) = 0;
  virtual void moe_ffn(const MoeFfn& op) = 0;
  virtual void add(Tensor a, Tensor b, Tensor out) = 0;                // elementwise; out may be a
  virtual void gather_rows(Tensor x, Tensor row_ids, Tensor out) = 0;  // row_ids i32 [rows of out]
  // out[r][j] = x[r][columns[j]], columns i32 [cols of out], each a column of x (checked when they
  // were loaded): the input of a matrix whose columns are stored in another order (GPTQ's
  // act-order). out may not be x.
  virtual void gather_columns(Tensor x, Tensor columns, Tensor out) = 0;
  virtual void top_candidates(const TopCandidates& op) = 0;
  virtual void draw_tokens(const DrawTokens& op) = 0;

  // Fusions. The default body spells the meaning in the calls above; a device may override for
  // speed, and the op tests compare the two.
  virtual void norm_linears(const RmsNorm& norm, std::span<const Linear> linears);
  virtual void norm_glu(const RmsNorm& norm, const Linear& gate, const Linear& up, const Glu& glu);
  // Norms, rotation, storing, of rope.q, rope.k = write.k and write.v. What k then holds means
  // nothing.
  virtual void rope_kv_write(const HeadNorms& norms, const Rope& rope, const KvWrite& write,
                             const StepView& step);

  // Measures now, which takes about a second and memory of its own; not while a step runs.
  virtual Result<DeviceLimits> measure_limits();

  // Runs `body(self)` now, or replays what it recorded under `key`.
  using Body = void (*)(void* self);
  virtual void run(StepKey key, Body body, void* self);
};

}  // namespace lm
