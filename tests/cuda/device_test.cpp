// What the backend says about its device, and memory that crosses to it and back.
#include <cstring>
#include <new>
#include <vector>

#include "tests/cuda/rig.h"
#include "tests/support/support.h"

using namespace lm;
using namespace lm::test;

TEST_CASE("what is uploaded comes back") {
  LM_CUDA(backend);
  const std::unique_ptr<Buffer> buffer = require_ok(backend->alloc(1000));
  Tensor all{
      .buffer = buffer.get(), .dtype = DType::i8, .shape = {1, 1, 1, 1000}, .row_bytes = 1000};
  std::vector<std::byte> back(1000, std::byte{7});
  backend->download(back, all);
  CHECK(back == std::vector<std::byte>(1000));  // zeroed

  std::vector<std::byte> sent(900);
  Random random(1);
  for (std::byte& byte : sent) byte = std::byte(random.below(256));
  Tensor inner = all;
  inner.offset = 50;
  backend->upload(inner, sent);
  const std::vector<std::byte> expected = sent;
  std::fill(sent.begin(), sent.end(), std::byte{0});  // the caller may use its memory again
  std::vector<std::byte> received(900);
  backend->download(received, inner);
  CHECK(received == expected);
  CHECK(require_ok(backend->synchronize()) == std::monostate{});
}

TEST_CASE("more memory than there is is refused, and the backend goes on") {
  LM_CUDA(backend);
  const Result<std::unique_ptr<Buffer>> buffer = backend->alloc(size_t{1} << 50);
  REQUIRE(!buffer.ok());
  CHECK(buffer.error().code == ErrorCode::out_of_memory);
  CHECK(backend->alloc(4096).ok());
  CHECK(backend->synchronize().ok());
}

TEST_CASE("a step is run, then recorded, then replayed, and sees what was uploaded") {
  LM_CUDA(backend);
  // 16 numbers, added to themselves by the recorded step.
  const std::unique_ptr<Buffer> buffer = require_ok(backend->alloc(128));
  struct Step {
    Backend* backend;
    Tensor x, y;
    static void body(void* self) {
      const Step& step = *static_cast<Step*>(self);
      step.backend->add(step.x, step.x, step.y);
    }
  } step{.backend = backend.get(), .x = {}, .y = {}};
  step.x = {.buffer = buffer.get(), .shape = {1, 1, 1, 16}, .row_bytes = 64};
  step.y = step.x;
  step.y.offset = 64;
  for (int round = 0; round < 5; ++round) {
    const std::vector<float> values(16, float(round + 1));
    backend->upload(step.x, std::as_bytes(std::span(values)));
    backend->run({1, 1, 1}, Step::body, &step);
    std::vector<float> sums(16);
    backend->download(std::as_writable_bytes(std::span(sums)), step.y);
    CHECK(sums == std::vector<float>(16, 2 * float(round + 1)));
  }
  CHECK(backend->synchronize().ok());
}

TEST_CASE("a step that runs out of memory in the middle leaves a stream that goes on") {
  LM_CUDA(backend);
  const std::unique_ptr<Buffer> buffer = require_ok(backend->alloc(128));
  // y = x + x and then y += x, with a copy to the host between them or without.
  struct Step {
    Backend* backend;
    bool copies;
    bool fails = false;
    Tensor x, y;
    std::vector<float> copied = std::vector<float>(16);
    static void body(void* self) {
      Step& step = *static_cast<Step*>(self);
      step.backend->add(step.x, step.x, step.y);
      if (step.copies) {
        step.backend->download(std::as_writable_bytes(std::span(step.copied)), step.y);
      }
      step.backend->add(step.y, step.x, step.y);
      if (step.fails) throw std::bad_alloc();
    }
  };
  // While the step is recorded, or replayed: that calls the body only where there are copies.
  const auto check_failure = [&](int fails_in, bool copies) {
    CAPTURE(fails_in);
    CAPTURE(copies);
    const StepKey key{1, uint32_t(fails_in), copies ? 2u : 1u};
    const StepKey not_recorded{1000, key.n_seqs, key.n_logits};
    Step step{.backend = backend.get(), .copies = copies, .x = {}, .y = {}};
    step.x = {.buffer = buffer.get(), .shape = {1, 1, 1, 16}, .row_bytes = 64};
    step.y = step.x;
    step.y.offset = 64;
    for (int round = 0; round < 9; ++round) {
      CAPTURE(round);
      const std::vector<float> values(16, float(round + 1));
      backend->upload(step.x, std::as_bytes(std::span(values)));
      step.fails = round == fails_in;
      if (step.fails) {
        CHECK_THROWS_AS(backend->run(key, Step::body, &step), std::bad_alloc);
        continue;
      }
      backend->run(round == fails_in + 1 ? not_recorded : key, Step::body, &step);
      std::vector<float> sums(16);
      backend->download(std::as_writable_bytes(std::span(sums)), step.y);
      CHECK(sums == std::vector<float>(16, 3 * float(round + 1)));
      if (copies) CHECK(step.copied == std::vector<float>(16, 2 * float(round + 1)));
    }
    CHECK(backend->synchronize().ok());
  };
  check_failure(1, false);
  check_failure(1, true);
  check_failure(5, true);
}
