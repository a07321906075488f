#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cmath>

#include "backends/cuda/ptx.cuh"
#include "tests/cuda/twins.h"

namespace lm::test {
namespace {

using namespace cuda;

constexpr uint32_t kAllLanes = 0xffffffffu;

// A number that looks random (the finalizer of MurmurHash3, public domain).
__device__ uint32_t mix(uint32_t x) {
  x ^= x >> 16;
  x *= 0x85ebca6bu;
  x ^= x >> 13;
  x *= 0xc2b2ae35u;
  return x ^ x >> 16;
}

// Any float; every other one of a size near 1, so that operands meet. NaN has many spellings.
__device__ float some_float(uint32_t i) {
  const uint32_t bits = mix(i);
  return __uint_as_float(i % 2 == 0 ? bits : (bits & 0x83ffffffu) | 0x3c000000u);
}
__device__ uint32_t bits_of(float x) {
  return x != x ? 0x7fffffffu : __float_as_uint(x);
}
__device__ uint32_t bits_of(__half2 v) {
  return uint32_t(__half_as_ushort(__low2half(v))) | uint32_t(__half_as_ushort(__high2half(v)))
                                                         << 16;
}
__device__ __half2 some_halves(uint32_t i) {
  const uint32_t bits = mix(i);
  return __halves2half2(__ushort_as_half(static_cast<unsigned short>(bits)),
                        __ushort_as_half(static_cast<unsigned short>(bits >> 16)));
}

__global__ void halves_to_floats(uint32_t* out) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  const auto bits = static_cast<unsigned short>(i);
  out[2 * i] = __float_as_uint(__half2float(__ushort_as_half(bits)));
  out[2 * i + 1] = __float_as_uint(__bfloat162float(__ushort_as_bfloat16(bits)));
}

__global__ void floats_to_halves(uint32_t* out) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  // Every third lies on or beside a tie between two halves of either kind.
  float x = some_float(i);
  if (i % 3 == 0)
    x = __uint_as_float((mix(i) & 0xfffff000u) | 0x1000u) * (i % 2 == 0 ? 1.0f : 0.5f);
  if (i % 3 == 1) x = __uint_as_float((mix(i) & 0xffff0000u) + 0x7fffu + i % 4);
  const uint32_t half = __half_as_ushort(__float2half_rn(x));
  const uint32_t bfloat = __bfloat16_as_ushort(__float2bfloat16_rn(x));
  out[i] = half | bfloat << 16;
}

__global__ void arithmetic_of_halves(uint32_t* out) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  const __half2 a = some_halves(3 * i), b = some_halves(3 * i + 1), c = some_halves(3 * i + 2);
  out[4 * i] = bits_of(__hadd2(a, b));
  out[4 * i + 1] = bits_of(__hsub2(a, b));
  out[4 * i + 2] = bits_of(__hmul2(a, b));
  out[4 * i + 3] = bits_of(__hfma2(a, b, c));
}

__global__ void arithmetic_of_floats(uint32_t* out) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  const float a = some_float(3 * i), b = some_float(3 * i + 1), c = some_float(3 * i + 2);
  const float results[] = {a + b,         a - b,         a * b,        a / b,
                           fmaf(a, b, c), sqrtf(a),      rintf(a),     floorf(a),
                           fmaxf(a, b),   fminf(a, b),   a * b + c,    fabsf(a),
                           truncf(a),     float(int(i)), __frcp_rn(a), __fdiv_rn(b, c)};
  for (int k = 0; k < 16; ++k) out[16 * i + uint32_t(k)] = bits_of(results[k]);
}

__global__ void integers(uint32_t* out) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  const uint32_t a = mix(3 * i), b = mix(3 * i + 1), c = mix(3 * i + 2);
  const uint32_t results[] = {uint32_t(dot4(int(a), int(b), int(c))),
                              __dp4a(a, b, c),
                              __byte_perm(a, b, c),
                              __brev(a),
                              uint32_t(__popc(a)),
                              uint32_t(__clz(int(a >> c % 32))),
                              uint32_t(__ffs(int(a << c % 32))),
                              __umulhi(a, b),
                              __funnelshift_l(a, b, c),
                              __funnelshift_r(a, b, c),
                              __vadd4(a, b),
                              __vsub4(a, b),
                              __vsubss4(a, b),
                              __vcmpeq4(a & 0x03030303u, b & 0x03030303u),
                              __vcmpne4(a & 0x03030303u, b & 0x03030303u),
                              uint32_t(__float2int_rn(some_float(i)))};
  for (int k = 0; k < 16; ++k) out[16 * i + uint32_t(k)] = results[k];
}

// Block b: operand b, every width and kind.
__global__ void shuffles(uint32_t* out) {
  const int operand = int(blockIdx.x);
  const uint32_t mine = mix(threadIdx.x);
  uint32_t* at = out + (blockIdx.x * 32 + threadIdx.x) * 27;
  for (int width = 1; width <= 32; width *= 2) {
    *at++ = __shfl_sync(kAllLanes, mine, operand, width);
    *at++ = __shfl_up_sync(kAllLanes, mine, unsigned(operand), width);
    *at++ = __shfl_down_sync(kAllLanes, mine, unsigned(operand), width);
    *at++ = __shfl_xor_sync(kAllLanes, mine, operand, width);
  }
  *at++ = __ballot_sync(kAllLanes, mine % 3 == 0);
  *at++ = uint32_t(__any_sync(kAllLanes, int(mine) == operand));
  *at++ = uint32_t(__all_sync(kAllLanes, int(mine) != operand));
}

__global__ void products_of_bytes(uint32_t* out) {
  const uint32_t i = (blockIdx.x * 32 + threadIdx.x) * 16;
  int d[4] = {int(mix(i)), int(mix(i + 1)), 5, 6};
  for (uint32_t step = 0; step < 2; ++step) {
    const uint32_t j = i + 2 + step * 6;
    const uint32_t a[4] = {mix(j), mix(j + 1), mix(j + 2), mix(j + 3)};
    const uint32_t b[2] = {mix(j + 4), mix(j + 5)};
    mma_s8(d, a, b);
  }
  for (uint32_t k = 0; k < 4; ++k) out[(blockIdx.x * 32 + threadIdx.x) * 4 + k] = uint32_t(d[k]);
}

// Integers of a few bits: every sum is exact, however it is made.
__device__ uint32_t two_small_halves(uint32_t i) {
  const uint32_t bits = mix(i);
  return bits_of(__floats2half2_rn(float(int(bits % 65)) - 32, float(int(bits >> 16) % 65) - 32));
}

__global__ void products_of_halves(uint32_t* out) {
  const uint32_t i = (blockIdx.x * 32 + threadIdx.x) * 16;
  float d[4] = {1, float(mix(i) % 1000), 0.5f, -0.25f};
  for (uint32_t step = 0; step < 2; ++step) {
    uint32_t a[4], b[2];
    for (uint32_t k = 0; k < 4; ++k) a[k] = two_small_halves(i + step * 6 + k);
    for (uint32_t k = 0; k < 2; ++k) b[k] = two_small_halves(i + step * 6 + 4 + k);
    mma_f16(d, a, b);
  }
  for (uint32_t k = 0; k < 4; ++k) out[(blockIdx.x * 32 + threadIdx.x) * 4 + k] = bits_of(d[k]);
}

__global__ void products_of_tf32(uint32_t* out) {
  const uint32_t i = (blockIdx.x * 32 + threadIdx.x) * 16;
  float d[4] = {1, float(mix(i) % 1000), 0.5f, -0.25f};
  const auto small = [](uint32_t at) { return __float_as_uint(float(int(mix(at) % 2047)) - 1023); };
  for (uint32_t step = 0; step < 2; ++step) {
    uint32_t a[4], b[2];
    for (uint32_t k = 0; k < 4; ++k) a[k] = small(i + step * 6 + k);
    for (uint32_t k = 0; k < 2; ++k) b[k] = small(i + step * 6 + 4 + k);
    mma_tf32(d, a, b);
  }
  for (uint32_t k = 0; k < 4; ++k) out[(blockIdx.x * 32 + threadIdx.x) * 4 + k] = bits_of(d[k]);
}

// Copies 2 x 512 bytes through shared memory, a part of them zeros, and loads matrices from there.
__global__ void copies_and_matrices(const uint4* from, uint32_t* out) {
  LM_SHARED(uint4, rows);
  const uint32_t lane = threadIdx.x;
  for (uint32_t half = 0; half < 2; ++half) {
    const uint32_t at = half * 32 + lane;
    copy_async_16(&rows[at], &from[blockIdx.x * 64 + at], mix(at) % 4 != 0);
    commit_copies();
  }
  wait_copies<1>();
  __syncwarp();
  uint32_t one[1], two[2], four[4];
  load_matrix(four, &rows[lane ^ 3]);
  uint32_t* at = out + (blockIdx.x * 32 + lane) * 14;
  for (const uint32_t word : four) *at++ = word;
  wait_copies<0>();
  __syncwarp();
  load_matrix(one, &rows[32 + lane % 8]);
  load_matrix(two, &rows[63 - lane % 16]);
  for (const uint32_t word : {one[0], two[0], two[1]}) *at++ = word;
  load_matrix_transposed(one, &rows[40 + lane % 8]);
  load_matrix_transposed(two, &rows[lane % 16 * 2]);
  load_matrix_transposed(four, &rows[lane * 2 % 64]);
  for (const uint32_t word : {one[0], two[0], two[1], four[0], four[1], four[2], four[3]})
    *at++ = word;
}

// Sums do not depend on who comes first.
__global__ void atomics(uint32_t* out) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(&out[0], mix(i));
  atomicMax(&out[1], mix(i) % 100000);
  atomicMin(&out[2], mix(i) % 100000);
  atomicInc(&out[3], 6);
  atomicOr(&out[4], 1u << mix(i) % 8);
  atomicXor(&out[5], mix(i));
  atomicAdd(reinterpret_cast<int*>(&out[6]), -1);
  atomicAdd(reinterpret_cast<unsigned long long*>(&out[8]), 1ull << mix(i) % 36);
  if (atomicCAS(&out[10], 0u, 7u) == 0u) atomicAdd(&out[11], 1u);
}

using Function = int;
enum : Function { kExp, kLog, kSin, kCos, kTanh, kErf, kRsqrt, kExp2, kFunctions };

__global__ void curve(Function function, const float* x, float* y) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  switch (function) {
    case kExp:
      y[i] = expf(x[i]);
      break;
    case kLog:
      y[i] = logf(x[i]);
      break;
    case kSin:
      y[i] = sinf(x[i]);
      break;
    case kCos:
      y[i] = cosf(x[i]);
      break;
    case kTanh:
      y[i] = tanhf(x[i]);
      break;
    case kErf:
      y[i] = erff(x[i]);
      break;
    case kRsqrt:
      y[i] = rsqrtf(x[i]);
      break;
    default:
      y[i] = exp2f(x[i]);
      break;
  }
}

// Device memory of the right size, or none.
class Words {
 public:
  explicit Words(size_t n) : n_(n) {
    void* memory = nullptr;
    if (cudaMalloc(&memory, n * 4) != cudaSuccess) return;
    memory_ = static_cast<uint32_t*>(memory);
    good_ = cudaMemset(memory_, 0, n * 4) == cudaSuccess;
  }
  ~Words() { (void)cudaFree(memory_); }
  Words(const Words&) = delete;
  Words& operator=(const Words&) = delete;

  uint32_t* data() { return memory_; }
  void write(const void* from) {
    good_ = good_ && cudaMemcpy(memory_, from, n_ * 4, cudaMemcpyHostToDevice) == cudaSuccess;
  }
  bool read(void* to) {
    return good_ && cudaMemcpy(to, memory_, n_ * 4, cudaMemcpyDeviceToHost) == cudaSuccess;
  }

 private:
  size_t n_;
  uint32_t* memory_ = nullptr;
  bool good_ = false;
};

template <class... Params, class... Args>
bool start(uint32_t blocks, uint32_t threads, size_t shared_bytes, void (*kernel)(Params...),
           Args... args) {
  cudaLaunchConfig_t config = {};
  config.gridDim = blocks;
  config.blockDim = threads;
  config.dynamicSmemBytes = shared_bytes;
  return cudaLaunchKernelEx(&config, kernel, Params(args)...) == cudaSuccess &&
         cudaDeviceSynchronize() == cudaSuccess;
}

// What `kernel` writes: `words` of each thread; nothing if it fails.
std::vector<uint32_t> run(uint32_t blocks, uint32_t threads, uint32_t words,
                          void (*kernel)(uint32_t*)) {
  std::vector<uint32_t> out(size_t{blocks} * threads * words);
  Words memory(out.size());
  const bool good = start(blocks, threads, 0, kernel, memory.data()) && memory.read(out.data());
  return good ? out : std::vector<uint32_t>{};
}

std::vector<uint32_t> run_copies() {
  constexpr uint32_t kBlocks = 4;
  std::vector<uint32_t> from(kBlocks * 64 * 4), out(kBlocks * 32 * 14);
  for (uint32_t i = 0; i < from.size(); ++i) from[i] = (2 * i + 1) << 16 | 2 * i;
  Words source(from.size()), memory(out.size());
  source.write(from.data());
  const bool good = start(kBlocks, 32, 1024, copies_and_matrices,
                          reinterpret_cast<const uint4*>(source.data()), memory.data()) &&
                    memory.read(out.data());
  return good ? out : std::vector<uint32_t>{};
}

}  // namespace

std::vector<Twin> run_twins() {
  int n_devices = 0;
  if (cudaGetDeviceCount(&n_devices) != cudaSuccess || n_devices == 0) return {};
  std::vector<uint32_t> counters = run(8, 96, 1, atomics);
  if (!counters.empty()) counters.resize(12);
  std::vector<Twin> twins = {
      {"halves to floats", run(256, 256, 2, halves_to_floats)},
      {"floats to halves", run(256, 256, 1, floats_to_halves)},
      {"arithmetic of halves", run(64, 256, 4, arithmetic_of_halves)},
      {"arithmetic of floats", run(64, 256, 16, arithmetic_of_floats)},
      {"integers", run(16, 256, 16, integers)},
      {"shuffles", run(32, 32, 27, shuffles)},
      {"products of bytes", run(64, 32, 4, products_of_bytes)},
      {"products of halves", run(64, 32, 4, products_of_halves)},
      {"copies and matrices", run_copies()},
      {"atomics", counters},
  };
  cudaDeviceProp properties = {};
  const bool good = cudaGetDeviceProperties(&properties, 0) == cudaSuccess;
  if (good && properties.major < 8) return twins;  // Turing multiplies no tf32
  twins.push_back({"products of tf32", run(64, 32, 4, products_of_tf32)});
  return twins;
}

std::vector<Curve> run_curves() {
  struct Range {
    const char* name;
    double (*reference)(double);
    Function function;
    float first, last;
  };
  const Range ranges[] = {
      {"expf", [](double x) { return std::exp(x); }, kExp, -87, 88},
      {"logf", [](double x) { return std::log(x); }, kLog, 1e-6f, 1000},
      {"sinf", [](double x) { return std::sin(x); }, kSin, -100000, 100000},
      {"cosf", [](double x) { return std::cos(x); }, kCos, -100000, 100000},
      {"tanhf", [](double x) { return std::tanh(x); }, kTanh, -10, 10},
      {"erff", [](double x) { return std::erf(x); }, kErf, -5, 5},
      {"rsqrtf", [](double x) { return 1 / std::sqrt(x); }, kRsqrt, 1e-6f, 1000},
      {"exp2f", [](double x) { return std::exp2(x); }, kExp2, -126, 127},
  };
  constexpr uint32_t kPoints = 64 * 256;
  std::vector<Curve> curves;
  for (const Range& range : ranges) {
    Curve c{range.name, range.reference, std::vector<float>(kPoints), std::vector<float>(kPoints)};
    for (uint32_t i = 0; i < kPoints; ++i) {
      c.x[i] = range.first + (range.last - range.first) * float(i) / float(kPoints - 1);
    }
    Words x(kPoints), y(kPoints);
    x.write(c.x.data());
    if (!start(kPoints / 256, 256, 0, curve, range.function,
               reinterpret_cast<const float*>(x.data()), reinterpret_cast<float*>(y.data())) ||
        !y.read(c.y.data())) {
      c.y.clear();
    }
    curves.push_back(std::move(c));
  }
  return curves;
}

}  // namespace lm::test
