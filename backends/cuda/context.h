// backends/cuda/context.h — what every operation needs: the stream, facts about the device, and
// scratch memory that was reserved for the largest step.
#pragma once
#include <cuda_runtime.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace lm::cuda {

struct DeviceFacts {
  std::string name;          // "cuda:0"
  std::string description;   // "NVIDIA H200, sm_90"
  std::string architecture;  // "sm_90"
  int index = 0;
  int compute_capability = 0;  // 90: 9.0
  int n_multiprocessors = 0;
  int max_shared_bytes = 0;  // of a block
  int multiprocessor_shared_bytes = 0;
  bool overlaps_kernels = false;  // programmatic dependent launch
  bool tf32 = false;              // products of them on tensor cores: Ampere and later
  bool wgmma = false;             // products of warpgroups: hopper/gemm_hopper.cu
};

// Scratch memory, one region per kind of operation: what one op leaves there may be read by the
// next call of the same kind only if its file says so.
enum class Scratch : uint8_t { linear, gemm, attention, attention_tickets, moe, sampling, count_ };

struct ScratchMemory {
  std::array<std::byte*, size_t(Scratch::count_)> base{};
  std::array<size_t, size_t(Scratch::count_)> bytes{};
};

class RecordedSteps;

struct Context {
  cudaStream_t stream;
  const DeviceFacts& facts;
  const ScratchMemory& scratch;
  cudaError_t* first_error;  // what synchronize() reports
  RecordedSteps& recorded;

  void note(cudaError_t code) const {
    if (code != cudaSuccess && *first_error == cudaSuccess) *first_error = code;
  }
  std::byte* memory(Scratch kind) const { return scratch.base[size_t(kind)]; }
};

}  // namespace lm::cuda
