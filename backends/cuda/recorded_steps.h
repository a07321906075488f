// backends/cuda/recorded_steps.h — steps recorded as CUDA graphs and replayed: hundreds of kernels
// for the price of one launch. A step is recorded when its key is seen for the second time; what
// changes between steps of one key lies in device memory (see backends/backend.h).
// A copy from or to the host in the middle of a step, on its way to another room and back, can't be
// recorded. It cuts the step: the launches between two copies, a stretch, become a graph each. To
// replay such a step its body runs again, but launches nothing; the copies find the stretch in
// front of them enqueued.
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

  // Enqueues body(self), or the graphs that it became.
  void run(StepKey key, Backend::Body body, void* self);
  void forget();  // everything recorded

  // In front of a launch: whether it shall happen.
  bool launches();
  // In front of a copy from or to the host.
  void cut();

 private:
  enum class Mode : uint8_t { idle, recording, replaying };
  struct Step {
    StepKey key;
    Backend::Body body;
    void* self;
    std::vector<cudaGraphExec_t> stretches{};  // empty: not recorded
    bool is_cut = false;
    bool refused = false;  // it can't be recorded: no second try
    uint64_t last_use = 0;
  };
  Step& find_or_add(StepKey key, Backend::Body body, void* self, bool& seen);
  void record(Step& step);
  void replay(Step& step);
  void run_as(Mode mode, Step& step);
  void abandon();
  void begin_stretch();
  void end_stretch();
  void launch(cudaGraphExec_t graph);
  static void destroy(Step& step);

  cudaStream_t stream_;
  bool enabled_;
  cudaError_t& first_error_;
  uint64_t n_runs_ = 0;
  std::vector<Step> steps_;

  // Of the step that runs.
  Mode mode_ = Mode::idle;
  Step* step_ = nullptr;
  bool in_stretch_ = false;  // there were launches since the last cut
  bool failed_ = false;
  size_t next_ = 0;  // stretch, of a replay
};

}  // namespace lm::cuda
