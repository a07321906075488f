#include "backends/cuda/recorded_steps.h"

#include <algorithm>

namespace lm::cuda {
namespace {

constexpr uint32_t kMostRecordedTokens = 16;  // longer steps take longer than their launches
constexpr size_t kMostSteps = 64;             // a graph of an 8B model takes about 1 MiB

}  // namespace

void RecordedSteps::run(StepKey key, Backend::Body body, void* self) {
  if (!enabled_ || key.n_tokens > kMostRecordedTokens) {
    body(self);
    return;
  }
  bool seen = false;
  Step& step = find_or_add(key, body, self, seen);
  step.last_use = ++n_runs_;
  if (seen && step.graph == nullptr && !step.refused) {
    step.graph = record(body, self);
    step.refused = step.graph == nullptr;
  }
  if (step.graph == nullptr || cudaGraphLaunch(step.graph, stream_) != cudaSuccess) body(self);
}

RecordedSteps::Step& RecordedSteps::find_or_add(StepKey key, Backend::Body body, void* self,
                                                bool& seen) {
  const auto found = std::find_if(steps_.begin(), steps_.end(), [&](const Step& step) {
    return step.key == key && step.body == body && step.self == self;
  });
  seen = found != steps_.end();
  if (seen) return *found;
  if (steps_.size() == kMostSteps) {
    const auto oldest =
        std::min_element(steps_.begin(), steps_.end(),
                         [](const Step& a, const Step& b) { return a.last_use < b.last_use; });
    if (oldest->graph != nullptr) cudaGraphExecDestroy(oldest->graph);
    steps_.erase(oldest);
  }
  steps_.push_back({.key = key, .body = body, .self = self});
  return steps_.back();
}

// nullptr: it can't be recorded, and is enqueued call by call.
cudaGraphExec_t RecordedSteps::record(Backend::Body body, void* self) {
  if (cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal) != cudaSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  const cudaError_t before = first_error_;
  body(self);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  const bool captured = cudaStreamEndCapture(stream_, &graph) == cudaSuccess && graph != nullptr;
  if (!captured || cudaGraphInstantiate(&executable, graph, 0) != cudaSuccess) executable = nullptr;
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
  first_error_ = before;  // a launch that a recording refuses may work by itself
  return executable;
}

void RecordedSteps::forget() {
  for (const Step& step : steps_) {
    if (step.graph != nullptr) cudaGraphExecDestroy(step.graph);
  }
  steps_.clear();
}

}  // namespace lm::cuda
