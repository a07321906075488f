#include "tests/simt/stream.h"

#include <algorithm>
#include <chrono>
#include <map>

namespace {
using Clock = std::chrono::steady_clock;
}

struct CUgraph_st {
  std::vector<simt::Work> nodes;
};

struct CUgraphExec_st {
  std::shared_ptr<const std::vector<simt::Work>> nodes;
};

struct CUstream_st {
  int device = 0;
  bool waits_for_default = true;
  std::deque<simt::Work> queue;
  std::unique_ptr<simt::Grid> unfinished;  // the latest kernel
  std::unique_ptr<CUgraph_st> recording;
  bool recording_is_spoilt = false;
};

struct CUevent_st {
  int device = 0;
  CUstream_st* stream = nullptr;
  uint64_t n_recorded = 0, n_done = 0;
  Clock::time_point when;
};

namespace simt {
namespace {

struct Streams {
  std::map<int, CUstream_st> legacy;  // of each device
  std::vector<std::unique_ptr<CUstream_st>> others;
};
Streams& streams() {
  static Streams all;
  return all;
}

CUstream_st& legacy_of(int of_device) {
  CUstream_st& legacy = streams().legacy[of_device];
  legacy.device = of_device;
  return legacy;
}

CUstream_st& stream_of(cudaStream_t stream) {
  return stream != nullptr ? *stream : legacy_of(current_device());
}

void note_result(bool good) {
  if (!good) device().kernel_error = cudaErrorLaunchFailure;
}

void finish_kernel(CUstream_st& stream) {
  const DoingWork doing(stream.device);
  if (const std::unique_ptr<Grid> grid = std::move(stream.unfinished)) note_result(grid->finish());
}

void execute(CUstream_st& stream, const Work& work) {
  if (const Kernel* const kernel = std::get_if<Kernel>(&work)) {
    auto grid = std::make_unique<Grid>(*kernel);
    if (kernel->overlaps && stream.unfinished != nullptr) {
      const DoingWork doing(stream.device);
      grid->run_prologue();
    }
    finish_kernel(stream);
    stream.unfinished = std::move(grid);
  } else {
    finish_kernel(stream);
    const DoingWork doing(kEveryDevice);
    const cudaError_t error = std::get<1>(work)();
    if (error != cudaSuccess) device().kernel_error = error;
  }
}

void execute_next(CUstream_st& stream) {
  const Work work = std::move(stream.queue.front());
  stream.queue.pop_front();
  execute(stream, work);
}

void finish(CUstream_st& stream) {
  while (!stream.queue.empty()) execute_next(stream);
  finish_kernel(stream);
}

// A device's default stream and those of it that are not "non-blocking" wait for each other.
void finish_those_before(CUstream_st& stream) {
  CUstream_st& legacy = legacy_of(stream.device);
  if (&stream != &legacy) {
    if (stream.waits_for_default) finish(legacy);
    return;
  }
  for (const auto& other : streams().others) {
    const bool waits = other->device == stream.device && other->waits_for_default;
    if (waits && other->recording == nullptr) finish(*other);
  }
}

cudaError_t take_kernel_error() {
  return std::exchange(device().kernel_error, cudaSuccess);
}

void finish_event(CUevent_st& event, uint64_t recording) {
  while (event.n_done < recording && !event.stream->queue.empty()) execute_next(*event.stream);
}

}  // namespace

bool exists(cudaStream_t stream) {
  const auto& all = streams().others;
  return stream == nullptr ||
         std::any_of(all.begin(), all.end(), [&](const auto& s) { return s.get() == stream; });
}

cudaError_t enqueue(cudaStream_t handle, Work work) {
  if (!exists(handle)) return cudaErrorInvalidResourceHandle;
  CUstream_st& stream = stream_of(handle);
  if (stream.recording != nullptr) {
    stream.recording->nodes.push_back(std::move(work));
    return cudaSuccess;
  }
  finish_those_before(stream);
  if (device().stream_mode == StreamMode::late) {
    stream.queue.push_back(std::move(work));
    return cudaSuccess;
  }
  execute(stream, work);
  return take_kernel_error();
}

bool is_capturing(cudaStream_t stream) {
  return stream_of(stream).recording != nullptr;
}
int device_of(cudaStream_t stream) {
  return stream_of(stream).device;
}

cudaError_t refuse_in_capture() {
  cudaError_t error = cudaSuccess;
  for (const auto& stream : streams().others) {
    if (stream->recording == nullptr) continue;
    stream->recording_is_spoilt = true;
    error = cudaErrorStreamCaptureUnsupported;
  }
  return error;
}

cudaError_t finish_stream(cudaStream_t handle) {
  if (!exists(handle)) return cudaErrorInvalidResourceHandle;
  CUstream_st& stream = stream_of(handle);
  finish_those_before(stream);
  finish(stream);
  return take_kernel_error();
}

cudaError_t finish_all_streams(int of_device) {
  const auto finish_if = [&](CUstream_st& stream) {
    if (of_device == kEveryDevice || of_device == stream.device) finish(stream);
  };
  for (auto& [index, legacy] : streams().legacy) finish_if(legacy);
  for (const auto& stream : streams().others) finish_if(*stream);
  return take_kernel_error();
}

}  // namespace simt

using simt::api_call;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return api_call([&] {
    auto made = std::make_unique<CUstream_st>();
    made->device = simt::current_device();
    made->waits_for_default = (flags & cudaStreamNonBlocking) == 0;
    *stream = made.get();
    simt::streams().others.push_back(std::move(made));
    return cudaSuccess;
  });
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

// What is queued is still done, as on a device.
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return api_call([&] {
    if (stream == nullptr || !simt::exists(stream)) return cudaErrorInvalidResourceHandle;
    simt::finish(*stream);
    std::erase_if(simt::streams().others, [&](const auto& s) { return s.get() == stream; });
    return cudaSuccess;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return api_call([&] {
    if (const cudaError_t error = simt::refuse_in_capture()) return error;
    return simt::finish_stream(stream);
  });
}

cudaError_t cudaDeviceSynchronize() {
  return api_call([] {
    if (const cudaError_t error = simt::refuse_in_capture()) return error;
    return simt::finish_all_streams(simt::current_device());
  });
}

// Late, each question does one piece of work, so that who asks again and again gets there.
cudaError_t cudaStreamQuery(cudaStream_t handle) {
  return api_call([&] {
    if (!simt::exists(handle)) return cudaErrorInvalidResourceHandle;
    CUstream_st& stream = simt::stream_of(handle);
    if (stream.queue.empty()) return simt::finish_stream(handle);
    simt::execute_next(stream);
    return cudaErrorNotReady;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  return api_call([&] {
    if (event->stream == nullptr) return cudaSuccess;  // never recorded
    return simt::enqueue(stream, [event, recording = event->n_recorded] {
      simt::finish_event(*event, recording);
      return cudaSuccess;
    });
  });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  return api_call([&] {
    *event = new CUevent_st;
    (*event)->device = simt::current_device();
    return cudaSuccess;
  });
}
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return api_call([&] {
    simt::finish_event(*event, event->n_recorded);  // the work that is queued names it
    delete event;
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return api_call([&] {
    if (!simt::exists(stream) || event->device != simt::device_of(stream)) {
      return cudaErrorInvalidResourceHandle;
    }
    event->stream = &simt::stream_of(stream);
    if (!simt::is_capturing(stream)) ++event->n_recorded;
    return simt::enqueue(stream, [event, recording = event->n_recorded] {
      event->n_done = recording;
      event->when = Clock::now();
      return cudaSuccess;
    });
  });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return api_call([&] {
    if (event->n_done == event->n_recorded) return cudaSuccess;
    if (!event->stream->queue.empty()) simt::execute_next(*event->stream);
    return cudaErrorNotReady;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return api_call([&] {
    if (const cudaError_t error = simt::refuse_in_capture()) return error;
    simt::finish_event(*event, event->n_recorded);
    return simt::take_kernel_error();
  });
}

cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t begin, cudaEvent_t end) {
  return api_call([&] {
    const bool recorded = begin->n_recorded > 0 && end->n_recorded > 0;
    if (!recorded || begin->device != end->device) return cudaErrorInvalidResourceHandle;
    if (begin->n_done < begin->n_recorded || end->n_done < end->n_recorded) {
      return cudaErrorNotReady;
    }
    *ms = std::chrono::duration<float, std::milli>(end->when - begin->when).count();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  return api_call([&] {
    if (stream == nullptr || stream->recording != nullptr) return cudaErrorStreamCaptureUnsupported;
    stream->recording = std::make_unique<CUgraph_st>();
    stream->recording_is_spoilt = false;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return api_call([&] {
    *graph = nullptr;
    if (stream == nullptr || stream->recording == nullptr) return cudaErrorInvalidValue;
    const std::unique_ptr<CUgraph_st> recorded = std::move(stream->recording);
    if (stream->recording_is_spoilt) return cudaErrorStreamCaptureInvalidated;
    *graph = new CUgraph_st(std::move(*recorded));
    return cudaSuccess;
  });
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  return api_call([&] {
    const CUstream_st& s = simt::stream_of(stream);
    *status = s.recording == nullptr  ? cudaStreamCaptureStatusNone
              : s.recording_is_spoilt ? cudaStreamCaptureStatusInvalidated
                                      : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  return api_call([&] {
    *exec = new CUgraphExec_st{std::make_shared<const std::vector<simt::Work>>(graph->nodes)};
    return cudaSuccess;
  });
}

// The same kernels in the same order, with other arguments and sizes.
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph,
                                cudaGraphExecUpdateResultInfo* info) {
  return api_call([&] {
    const auto same = [](const simt::Work& a, const simt::Work& b) {
      const auto* const kernel = std::get_if<simt::Kernel>(&a);
      const auto* const other = std::get_if<simt::Kernel>(&b);
      return kernel != nullptr && other != nullptr ? kernel->address == other->address
                                                   : a.index() == b.index();
    };
    const bool updates = std::equal(exec->nodes->begin(), exec->nodes->end(), graph->nodes.begin(),
                                    graph->nodes.end(), same);
    if (info != nullptr) info->result = updates ? 0 : 1;
    if (!updates) return cudaErrorGraphExecUpdateFailure;
    exec->nodes = std::make_shared<const std::vector<simt::Work>>(graph->nodes);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  return api_call([&] {
    for (const simt::Work& work : *exec->nodes) {
      const cudaError_t error = simt::enqueue(stream, work);
      if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
  });
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) {
  return api_call([] { return cudaSuccess; });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return api_call([&] {
    delete graph;
    return cudaSuccess;
  });
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  return api_call([&] {
    delete exec;
    return cudaSuccess;
  });
}
