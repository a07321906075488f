#include "engine/cli/batch.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "engine/cli/answer.h"
#include "engine/cli/asker.h"
#include "engine/cli/batch_line.h"
#include "engine/cli/batch_results.h"
#include "engine/cli/line_reader.h"
#include "engine/cli/statistics.h"
#include "engine/cli/terminal.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

constexpr int kMaxParallel = 256;
constexpr size_t kReadAhead = 4;  // lines for each that runs: short answers may overtake a long one

// An answer as it grows on the engine's thread.
class Growing {
 public:
  void take(const TokenEvent& event) {
    const std::lock_guard lock(mutex_);
    if (event.finish != Finish::none) {
      end_.finish = event.finish;
      end_.timings = event.timings;
    }
    try {
      text_ += event.text;
      if (event.finish != Finish::none) end_.error = event.error;
    } catch (const std::bad_alloc&) {
      lost_ = true;
    }
    ended_.notify_all();
  }
  void wait_for_end() const {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return end_.finish != Finish::none; });
  }
  bool finished() const {
    const std::lock_guard lock(mutex_);
    return end_.finish != Finish::none;
  }
  // After the end.
  AnswerEnd take_apart(const std::optional<ReplyFormat>& format) {
    const std::lock_guard lock(mutex_);
    if (lost_) throw std::bad_alloc();
    if (format) {
      ReplyParser parser(*format, [this](const ReplyEvent& event) { end_.reply.take(event); });
      parser.push(text_);
      parser.finish();
    } else {
      end_.reply.content = std::move(text_);
    }
    return std::move(end_);
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable ended_;
  std::string text_;
  AnswerEnd end_;
  bool lost_ = false;
};

// A line on its way from the input to its result.
struct Job {
  Json result;  // what is known of it: line, id, input, and an error when it never began
  bool begun = false;
  RequestId request = 0;
  AnswerHead head;
  std::optional<ReplyFormat> format;
  std::shared_ptr<Growing> answer = std::make_shared<Growing>();
};

class Batch {
 public:
  Batch(const Context& context, const GenerationOptions& generation, Engine& engine, Asker& asker,
        AnswerHead head, bool timings)
      : context_(context),
        engine_(engine),
        asker_(asker),
        parser_(asker.terms(), generation.system, !asker.has_template()),
        head_(std::move(head)),
        timings_(timings) {}

  // Returns early after a signal, or when the results can't be written.
  Status run(int fd, std::optional<LineReader::Line> first, LineReader& input,
             BatchResults& results);

 private:
  void begin(const LineReader::Line& line);
  Status ask(const LineReader::Line& line, Job& job);
  Result<bool> write_finished(BatchResults& results);
  Json result_of(Job& job);
  void cancel_all();

  const Context& context_;
  Engine& engine_;
  Asker& asker_;
  BatchLineParser parser_;
  AnswerHead head_;
  bool timings_;
  std::deque<Job> jobs_;  // in the order of their lines
};

Status Batch::run(int fd, std::optional<LineReader::Line> first, LineReader& input,
                  BatchResults& results) {
  const size_t most = kReadAhead * size_t(engine_.instance().max_seqs());
  context_.signals.hold();
  if (first) begin(*first);
  for (;;) {
    const bool writable = LM_TRY(write_finished(results));
    if (!writable || pending_signal() != 0 || results.reader_gone()) break;
    std::optional<LineReader::Line> line;
    while (jobs_.size() < most && (line = input.next())) {
      if (line->too_long || !is_blank(line->text)) begin(*line);
    }
    const bool reading = jobs_.size() < most && !input.ended();
    if (reading) {
      if (context_.signals.wait_for_input(fd)) LM_TRY(input.read_more());
    } else if (jobs_.empty()) {
      return ok();
    } else if (jobs_.front().begun && !jobs_.front().answer->finished()) {
      context_.signals.wait();
    }
  }
  cancel_all();
  return ok();
}

// What can't be asked has its result at once.
void Batch::begin(const LineReader::Line& line) {
  Job& job = jobs_.emplace_back();
  job.result["line"] = line.number;
  const Status asked = ask(line, job);
  job.begun = asked.ok();
  if (asked.ok()) return;
  job.result["input"] = line_digest(line);
  job.result["finish"] = finish_name(Finish::error);
  job.result["error"] = asked.error().message.substr(0, asked.error().message.find('\n'));
}

Status Batch::ask(const LineReader::Line& line, Job& job) {
  if (line.too_long) {
    return Error{ErrorCode::bad_request,
                 concat("expected a line of at most ", human_bytes(kMaxLineBytes))};
  }
  Json id = nullptr;
  Result<BatchLine> parsed = parser_.parse(line.text, line.number, id);
  if (!id.is_null()) job.result["id"] = std::move(id);
  if (!parsed.ok()) return std::move(parsed).error();
  const BatchLine& wish = parsed.value();
  Question question = LM_TRY(asker_.ask(wish.messages, wish.terms));
  job.head = head_;
  job.head.seed = wish.terms.sampling.seed;
  job.head.prompt_tokens = int(question.request.prompt.size());
  job.format = std::move(question.format);
  question.request.on_token = [answer = job.answer,
                               &signals = context_.signals](const TokenEvent& event) {
    answer->take(event);
    signals.wake();
  };
  job.request = LM_TRY(engine_.submit(std::move(question.request)));
  job.result["input"] = line_digest(line);
  return ok();
}

// In the order of the lines; the first that is not finished holds up those behind it.
Result<bool> Batch::write_finished(BatchResults& results) {
  while (!jobs_.empty() && (!jobs_.front().begun || jobs_.front().answer->finished())) {
    if (!LM_TRY(results.write(result_of(jobs_.front())))) return false;
    jobs_.pop_front();
  }
  return true;
}

Json Batch::result_of(Job& job) {
  if (!job.begun) return std::move(job.result);
  const AnswerEnd end = job.answer->take_apart(job.format);
  Json result = std::move(job.result);
  add_answer(result, job.head, end, timings_);
  return result;
}

// And waits for their ends, so that the engine's totals are of all.
void Batch::cancel_all() {
  for (const Job& job : jobs_) {
    if (job.begun) engine_.cancel(job.request);
  }
  for (const Job& job : jobs_) {
    if (job.begun) job.answer->wait_for_end();
  }
}

// The file, or stdin.
class Input {
 public:
  static Result<Input> open(const std::string& path) {
    if (path == "-") return Input(STDIN_FILENO);
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd >= 0) return Input(fd);
    return Error{ErrorCode::bad_file,
                 concat("cannot open ", printable(path, 1000), ": ", std::strerror(errno))};
  }
  Input(Input&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Input& operator=(Input&&) = delete;
  ~Input() {
    if (fd_ > STDERR_FILENO) close(fd_);
  }
  int fd() const { return fd_; }

 private:
  explicit Input(int fd) : fd_(fd) {}
  int fd_;
};

Result<ExitStatus> status_of(const BatchResults& results) {
  if (results.n_failed() == 0) return ExitStatus::ok;
  return Error{
      ErrorCode::device,
      concat("expected an answer to every line, found ", results.n_failed(), " of ",
             results.n_lines(), " without one, the first on line ", results.first_failed())};
}

}  // namespace

void BatchOptions::declare(Options& options) {
  options.group("Many prompts");
  options.text("--prompts", "FILE", prompts,
               "prompts in JSON, one a line (- reads stdin): a text, or an object with prompt or "
               "messages, and as it likes system, id, max_tokens, seed, stop, json_schema, "
               "grammar, tools, logit_bias, temperature and its like. A line of results for each, "
               "in their order; --json adds timings to them");
  options.text("--resume", "FILE", resume,
               "write the results to this file, after those that it has: their lines are not "
               "computed again");
  options.integer("--parallel", "N", n_parallel, 1, kMaxParallel,
                  concat("prompts that run at once (default: ", n_parallel, ")"));
  options.setting();
}

Result<ExitStatus> run_batch(const Context& context, const GenerationOptions& generation,
                             const BatchOptions& options, bool timings, bool stats) {
  InstanceOptions instance_options = LM_TRY(generation.model.instance_options());
  instance_options.max_seqs = options.n_parallel;
  const Input file = LM_TRY(Input::open(*options.prompts));
  LineReader input(file.fd(), *options.prompts == "-" ? "stdin" : printable(*options.prompts, 1000),
                   kMaxLineBytes);
  BatchResults results = options.resume ? LM_TRY(BatchResults::resume(*options.resume, input))
                                        : BatchResults::to(context.out);
  // Where nothing is left to do, no model is loaded.
  std::optional<LineReader::Line> first = LM_TRY(input.wait_for_line());
  if (!first) return status_of(results);

  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  OpenedModel opened =
      LM_TRY(open_model(context, instance_options, generation.draft, !generation.quiet));
  std::unique_ptr<Instance> instance = std::move(opened.instance);
  Asker asker = LM_TRY(Asker::open(*instance, generation));
  const std::unique_ptr<Engine> engine =
      Engine::start(std::move(instance), {.disk = generation.cache.open(false, generation.quiet),
                                          .speculation = std::move(opened.speculation)});
  AnswerHead head;
  head.model = instance_options.model_path.native();
  head.load_seconds = elapsed();
  Batch batch(context, generation, *engine, asker, std::move(head), timings);
  LM_TRY(batch.run(file.fd(), std::move(first), input, results));
  if (stats) write_stderr(statistics_line(engine->totals(), results.n_lines(), elapsed()));
  if (pending_signal() != 0) return exit_status_of_signal(pending_signal());
  return status_of(results);
}

}  // namespace lm::cli
