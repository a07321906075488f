#include "engine/cli/generate.h"

#include <mutex>
#include <new>
#include <optional>
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
      end_.error_code = event.error_code;
    }
    try {
      if (event.token >= 0 || !event.text.empty()) {
        pieces_.push_back({event.token,
                           std::string(event.text),
                           event.logprob,
                           event.drafted,
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

// Hands the pieces on, taken apart where the model marks parts of its replies.
class Delivery {
 public:
  Delivery(std::optional<ReplyFormat> format, Answer& answer) : answer_(answer) {
    if (!format) return;
    parser_.emplace(std::move(*format), [this](const ReplyEvent& event) {
      reply_.take(event);
      if (event.kind == ReplyEvent::Kind::content) piece_.content += event.text;
      if (event.kind == ReplyEvent::Kind::reasoning) piece_.reasoning += event.text;
    });
  }

  void deliver(AnswerPiece piece) {
    piece_ = std::move(piece);
    if (parser_) {
      parser_->push(piece_.text);
    } else {
      piece_.content = piece_.text;
      reply_.content += piece_.text;
    }
    answer_.piece(piece_);
  }

  Reply finish() {
    if (!parser_) return std::move(reply_);
    piece_ = {-1, "", 0, false, {}};
    parser_->finish();
    if (!piece_.content.empty() || !piece_.reasoning.empty()) answer_.piece(piece_);
    return std::move(reply_);
  }

 private:
  Answer& answer_;
  AnswerPiece piece_{-1, "", 0, false, {}};
  Reply reply_;
  std::optional<ReplyParser> parser_;
};

}  // namespace

Result<AnswerEnd> generate(Engine& engine, Question question, Answer& answer,
                           const Context& context) {
  Mailbox mailbox;
  Delivery delivery(std::move(question.format), answer);
  question.request.on_token = [&](const TokenEvent& event) {
    mailbox.put(event);
    context.signals.wake();
  };
  context.signals.hold();
  const RequestId id = LM_TRY(engine.submit(std::move(question.request)));
  answer.begin();
  for (bool cancelled = false;;) {
    context.signals.wait();
    Mailbox::Taken taken = mailbox.take();
    for (AnswerPiece& piece : taken.pieces) delivery.deliver(std::move(piece));
    if (taken.end.finish != Finish::none) {
      if (taken.lost) throw std::bad_alloc();
      taken.end.reply = delivery.finish();
      return std::move(taken.end);
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
