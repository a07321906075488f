// tests/support/late_backend.h — a room whose work is done as late as it may be: when the host
// waits for it, and no further than what it waits for. And it can guess wrong.
#pragma once
#include <cmath>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/registry.h"
#include "tests/support/room_backend.h"

namespace lm::test {

// What late backends do and have done; shared by those of a test.
struct Lateness {
  int lie_in = 0;        // every so manieth guess is another token; 0: none
  float grid = 0;        // logits are multiples of it, and many of them the same; 0: as they come
  int fails_after = -1;  // waits; then every one fails, and downloads deliver nothing
  int n_lies = 0;        // told
  int n_steps = 0;       // done: forward passes whose candidates were found
  int n_downloads = 0;   // that waited for everything
  int n_guesses = 0;
  int n_idle = 0;  // how often nothing was left to do
};

class LateBackend final : public RoomBackend {
 public:
  LateBackend(std::string name, std::unique_ptr<Backend> inner, Lateness& lateness)
      : RoomBackend(std::move(name), std::move(inner)), lateness_(lateness) {}

  bool asynchronous() const override { return true; }
  void upload(Tensor dst, std::span<const std::byte> bytes) override {
    later([this, dst, kept = std::vector<std::byte>(bytes.begin(), bytes.end())] {
      RoomBackend::upload(dst, kept);
    });
  }
  void download(std::span<std::byte> dst, Tensor src) override {
    work_until(n_queued_);
    ++lateness_.n_downloads;
    if (lateness_.fails_after != 0) RoomBackend::download(dst, src);
  }
  Status synchronize() override {
    work_until(n_queued_);
    return failure();
  }
  Result<std::unique_ptr<Landing>> make_landing(size_t bytes) override {
    return std::unique_ptr<Landing>(std::make_unique<LateLanding>(*this, bytes));
  }

  void embed(Tensor table, Tensor ids, float scale, Tensor out) override {
    later([=, this] { RoomBackend::embed(table, ids, scale, out); });
  }
  void rms_norm(const RmsNorm& op) override {
    later([=, this] { RoomBackend::rms_norm(op); });
  }
  void linear(const Linear& op) override {
    later([=, this] { RoomBackend::linear(op); });
  }
  void rope(const Rope& op, const StepView& step) override {
    later([=, this] { RoomBackend::rope(op, step); });
  }
  void kv_write(const KvWrite& op, const StepView& step) override {
    later([=, this] { RoomBackend::kv_write(op, step); });
  }
  void attention(const Attention& op, const StepView& step) override {
    later([=, this] { RoomBackend::attention(op, step); });
  }
  void glu(const Glu& op) override {
    later([=, this] { RoomBackend::glu(op); });
  }
  void moe_route(const MoeRoute& op) override {
    later([=, this] { RoomBackend::moe_route(op); });
  }
  void moe_ffn(const MoeFfn& op) override {
    later([=, this] { RoomBackend::moe_ffn(op); });
  }
  void add(Tensor a, Tensor b, Tensor out) override {
    later([=, this] { RoomBackend::add(a, b, out); });
  }
  void gather_rows(Tensor x, Tensor row_ids, Tensor out) override {
    later([=, this] { RoomBackend::gather_rows(x, row_ids, out); });
  }
  void gather_columns(Tensor x, Tensor columns, Tensor out) override {
    later([=, this] { RoomBackend::gather_columns(x, columns, out); });
  }
  void top_candidates(const TopCandidates& op) override {
    later([=, this] {
      auto* const logits = reinterpret_cast<float*>(op.logits.data());
      for (int64_t i = 0; lateness_.grid > 0 && i < op.logits.rows() * op.logits.cols(); ++i) {
        logits[i] = std::floor(logits[i] / lateness_.grid) * lateness_.grid;
      }
      RoomBackend::top_candidates(op);
      ++lateness_.n_steps;
    });
  }
  void draw_tokens(const DrawTokens& op) override {
    later([=, this] {
      RoomBackend::draw_tokens(op);
      auto* const tokens = reinterpret_cast<int32_t*>(op.tokens.data());
      for (int64_t i = 0; i < op.tokens.cols(); ++i) {
        ++lateness_.n_guesses;
        if (lateness_.lie_in == 0 || lateness_.n_guesses % lateness_.lie_in != 0) continue;
        ++lateness_.n_lies;
        tokens[i] = tokens[i] == 0 ? 1 : tokens[i] - 1;
      }
    });
  }

 private:
  class LateLanding final : public Landing {
   public:
    LateLanding(LateBackend& backend, size_t bytes) : backend_(backend), bytes_(bytes) {}
    ~LateLanding() override { backend_.work_until(sent_); }

    void send(std::span<const Tensor> tensors) override {
      backend_.later([this, sent = std::vector<Tensor>(tensors.begin(), tensors.end())] {
        std::byte* next = bytes_.data();
        for (const Tensor& t : sent) {
          const size_t n = size_t(t.rows() * t.row_bytes);
          if (n > 0) std::memcpy(next, t.data(), n);
          next += n;
        }
      });
      sent_ = backend_.n_queued_;
    }
    Result<std::span<const std::byte>> wait() override {
      backend_.work_until(sent_);
      LM_TRY(backend_.failure());
      return std::span<const std::byte>(bytes_);
    }

   private:
    LateBackend& backend_;
    std::vector<std::byte> bytes_;
    int sent_ = 0;
  };

  void later(std::function<void()> work) {
    queue_.push_back(std::move(work));
    ++n_queued_;
  }
  void work_until(int end) {
    if (n_done_ < end && end == n_queued_) ++lateness_.n_idle;
    for (; n_done_ < end; ++n_done_) {
      queue_.front()();
      queue_.pop_front();
    }
  }
  Status failure() {
    if (lateness_.fails_after < 0 || lateness_.fails_after-- > 0) return ok();
    lateness_.fails_after = 0;
    return Error{ErrorCode::device, "the device is gone"};
  }

  Lateness& lateness_;
  std::deque<std::function<void()>> queue_;
  int n_queued_ = 0, n_done_ = 0;
};

// Of rooms on the processor that are late; kLateness is a variable of the test's.
template <Lateness& kLateness>
Registry late_registry() {
  BackendEntry entry = cpu::registry_entry();
  entry.open = [](std::string_view device,
                  const BackendOptions& options) -> Result<std::unique_ptr<Backend>> {
    return std::unique_ptr<Backend>(std::make_unique<LateBackend>(
        std::string(device), LM_TRY(cpu::registry_entry().open(device, options)), kLateness));
  };
  Registry registry;
  registry.add(entry);
  return registry;
}

}  // namespace lm::test
