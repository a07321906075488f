#include "engine/cli/generate.h"

#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace lm::cli {
namespace {

// What the engine has said and nobody has taken yet. A last word is never lost, even when memory
// is.
class Mailbox {
 public:
  void put(const TokenEvent& event) {
    const std::lock_guard lock(mutex_);
    if (event.finish != Finish::none) {
      end_.finish = event.finish;
      end_.timings = event.timings;
    }
    try {
      if (event.token >= 0 || !event.text.empty()) {
        pieces_.push_back({event.token,
                           std::string(event.text),
                           event.logprob,
                           {event.alternatives.begin(), event.alternatives.end()}});
      }
      if (event.finish != Finish::none) end_.error = event.error;
    } catch (const std::bad_alloc&) {
      lost_ = true;
    }
  }

  struct Taken {
    std::vector<AnswerPiece> pieces;
    AnswerEnd end;
    bool lost;
  };
  Taken take() {
    const std::lock_guard lock(mutex_);
    return {std::exchange(pieces_, {}), end_, lost_};
  }

 private:
  std::mutex mutex_;
  std::vector<AnswerPiece> pieces_;
  AnswerEnd end_;
  bool lost_ = false;
};

}  // namespace

Result<AnswerEnd> generate(Engine& engine, Request request, Answer& answer,
                           const Context& context) {
  Mailbox mailbox;
  request.on_token = [&](const TokenEvent& event) {
    mailbox.put(event);
    context.signals.wake();
  };
  context.signals.hold();
  const RequestId id = LM_TRY(engine.submit(std::move(request)));
  answer.begin();
  for (bool cancelled = false;;) {
    context.signals.wait();
    const Mailbox::Taken taken = mailbox.take();
    for (const AnswerPiece& piece : taken.pieces) answer.piece(piece);
    if (taken.end.finish != Finish::none) {
      if (taken.lost) throw std::bad_alloc();
      return taken.end;
    }
    const bool leave =
        pending_signal() != 0 || taken.lost || !context.out.ok() || context.out.reader_gone();
    if (leave && !cancelled) {
      engine.cancel(id);
      cancelled = true;
    }
  }
}

}  // namespace lm::cli
