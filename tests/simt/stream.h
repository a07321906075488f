// tests/simt/stream.h — queues of work and recorded work.
// Eagerly, work is done when it is queued, but for the last kernel of a stream: the next kernel may
// start before it ends. Late, nothing is done before somebody waits.
#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <variant>
#include <vector>

#include "tests/simt/device.h"

namespace simt {

using Work = std::variant<Kernel, std::function<cudaError_t()>>;

cudaError_t enqueue(cudaStream_t stream, Work work);
bool is_capturing(cudaStream_t stream);
bool exists(cudaStream_t stream);
int device_of(cudaStream_t stream);
cudaError_t finish_stream(cudaStream_t stream);  // nullptr: the legacy default stream
cudaError_t finish_all_streams(int of_device = kEveryDevice);

// What must not be called while a stream records (it waits for the device) spoils the recording.
cudaError_t refuse_in_capture();

}  // namespace simt
