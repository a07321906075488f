// backends/cuda/recorded_steps.h — steps recorded as CUDA graphs and replayed: hundreds of kernels
// for the price of one launch. A step is recorded when its key is seen for the second time; what
// changes between steps of one key lies in device memory (see backends/backend.h).
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <vector>

#include "backends/backend.h"

namespace lm::cuda {

class RecordedSteps {
 public:
  // `enabled` false: every step is enqueued call by call.
  // first_error: what launches report; a step that can't be recorded has failed at nothing.
  RecordedSteps(cudaStream_t stream, bool enabled, cudaError_t& first_error)
      : stream_(stream), enabled_(enabled), first_error_(first_error) {}
  RecordedSteps(const RecordedSteps&) = delete;
  RecordedSteps& operator=(const RecordedSteps&) = delete;
  ~RecordedSteps() { forget(); }

  // Enqueues body(self), or the graph that it became.
  void run(StepKey key, Backend::Body body, void* self);
  void forget();  // everything recorded

 private:
  struct Step {
    StepKey key;
    Backend::Body body;
    void* self;
    cudaGraphExec_t graph = nullptr;
    bool refused = false;  // it can't be recorded: no second try
    uint64_t last_use = 0;
  };
  Step& find_or_add(StepKey key, Backend::Body body, void* self, bool& seen);
  cudaGraphExec_t record(Backend::Body body, void* self);

  cudaStream_t stream_;
  bool enabled_;
  cudaError_t& first_error_;
  uint64_t n_runs_ = 0;
  std::vector<Step> steps_;
};

}  // namespace lm::cuda
