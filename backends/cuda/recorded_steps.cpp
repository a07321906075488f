#include "backends/cuda/recorded_steps.h"

#include <algorithm>
#include <new>

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
  if (!seen || step.refused) {
    body(self);
  } else if (step.stretches.empty()) {
    record(step);
  } else {
    replay(step);
  }
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
    destroy(*oldest);
    steps_.erase(oldest);
  }
  steps_.push_back({.key = key, .body = body, .self = self});
  return steps_.back();
}

// The step happens while it is recorded, a stretch at a time. One that can't be recorded is run
// again, call by call: until then its copies carried what an earlier step had left.
void RecordedSteps::record(Step& step) {
  const cudaError_t before = first_error_;
  run_as(Mode::recording, step);
  step.refused = failed_ || step.stretches.empty();
  if (!failed_) return;
  destroy(step);
  cudaGetLastError();
  first_error_ = before;  // a launch that a recording refuses may work by itself
  step.body(step.self);
}

void RecordedSteps::replay(Step& step) {
  failed_ = false;
  if (step.is_cut) {
    run_as(Mode::replaying, step);
  } else {
    launch(step.stretches.front());
  }
  if (failed_) step.body(step.self);
}

void RecordedSteps::run_as(Mode mode, Step& step) {
  mode_ = mode;
  step_ = &step;
  next_ = 0;
  failed_ = false;
  try {
    step.body(step.self);
    if (in_stretch_) end_stretch();
  } catch (const std::bad_alloc&) {  // the engine lives on, and so must the stream
    abandon();
    throw;
  }
  mode_ = Mode::idle;
}

// Nothing of the step is kept: the next one of its key is recorded anew.
void RecordedSteps::abandon() {
  if (in_stretch_ && mode_ == Mode::recording) {
    cudaGraph_t graph = nullptr;
    if (cudaStreamEndCapture(stream_, &graph) == cudaSuccess) cudaGraphDestroy(graph);
    cudaGetLastError();
  }
  in_stretch_ = false;
  mode_ = Mode::idle;
  destroy(*step_);
}

bool RecordedSteps::launches() {
  if (mode_ != Mode::idle && !in_stretch_) begin_stretch();
  return mode_ != Mode::replaying;
}

void RecordedSteps::cut() {
  if (mode_ == Mode::idle) return;
  step_->is_cut = true;
  if (in_stretch_) end_stretch();
}

// Not before there is something to record, so that of several devices one records at a time.
void RecordedSteps::begin_stretch() {
  in_stretch_ = true;
  if (mode_ != Mode::recording || failed_) return;
  failed_ = cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal) != cudaSuccess;
}

void RecordedSteps::end_stretch() {
  in_stretch_ = false;
  if (mode_ == Mode::replaying) return launch(step_->stretches[next_++]);
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  if (cudaStreamIsCapturing(stream_, &status) != cudaSuccess ||
      status == cudaStreamCaptureStatusNone) {
    return;  // failed before
  }
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  const bool captured = cudaStreamEndCapture(stream_, &graph) == cudaSuccess && graph != nullptr;
  if (!captured || cudaGraphInstantiate(&executable, graph, 0) != cudaSuccess) executable = nullptr;
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
  if (executable == nullptr) {
    failed_ = true;
    return;
  }
  step_->stretches.push_back(executable);
  launch(executable);
}

void RecordedSteps::launch(cudaGraphExec_t graph) {
  if (cudaGraphLaunch(graph, stream_) != cudaSuccess) failed_ = true;
}

void RecordedSteps::destroy(Step& step) {
  for (const cudaGraphExec_t graph : step.stretches) cudaGraphExecDestroy(graph);
  step.stretches.clear();
}

void RecordedSteps::forget() {
  for (Step& step : steps_) destroy(step);
  steps_.clear();
}

}  // namespace lm::cuda
