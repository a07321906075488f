// Ctrl-C and termination: what was printed stays, and the exit status says which it was.
#include <signal.h>

#include "engine/core/json.h"
#include "engine/core/utf8.h"
#include "tests/cli/process.h"

using namespace lm;
using namespace lm::test;

namespace {

Setup endless(std::vector<std::string> more = {}) {
  Setup setup;
  setup.args = {"-m", long_model_path(), "-p", "x", "--ignore-eos", "--seed", "1"};
  setup.args.insert(setup.args.end(), more.begin(), more.end());
  return setup;
}

Json last_line(const std::string& text) {
  const size_t end = text.find_last_not_of('\n');
  const size_t start = text.rfind('\n', end);
  return require_ok(parse_json(text.substr(start == std::string::npos ? 0 : start + 1, end + 1)));
}

}  // namespace

TEST_CASE("signals: Ctrl-C in the answer keeps what was printed") {
  for (const auto& [signal_number, status] : {std::pair(SIGINT, 130), std::pair(SIGTERM, 143)}) {
    Process process(endless());
    while (process.out().size() < 30) process.pump(0.01);
    process.send(signal_number);
    const Finished finished = process.finish();
    CHECK(finished.status == status);
    CHECK(finished.out.size() >= 30);
    CHECK(utf8::is_valid(finished.out));
    CHECK(finished.err.empty());
  }
}

TEST_CASE("signals: --json tells what there was, and that it was cancelled") {
  Process process(endless({"--json", "-v"}));
  CHECK(process.wait_for_error("context"));
  process.pump(0.05);
  process.send(SIGINT);
  const Finished finished = process.finish();
  CHECK(finished.status == 130);
  if (!finished.out.empty()) CHECK(last_line(finished.out)["finish"] == "cancelled");
}

TEST_CASE("signals: --jsonl ends with an event") {
  Process process(endless({"--jsonl"}));
  CHECK(process.wait_for_output("\"token\""));
  process.send(SIGTERM);
  const Finished finished = process.finish();
  CHECK(finished.status == 143);
  CHECK(last_line(finished.out)["finish"] == "cancelled");
}

TEST_CASE("signals: before anything is loaded, while a file is read") {
  const TempDir folder;
  for (const auto& [signal_number, status] : {std::pair(SIGINT, 130), std::pair(SIGTERM, 143)}) {
    for (const char* option : {"-f", "--json-schema", "--prompts"}) {
      INFO(option);
      const std::string path = (folder.path() / (option + std::to_string(status))).string();
      Fifo file(path);
      Setup setup;
      setup.args = {"-m", long_model_path(), option, path};
      if (option == std::string("--json-schema")) setup.args.insert(setup.args.end(), {"-p", "x"});
      Process process(std::move(setup));
      file.open_to_reader();
      process.send(signal_number);
      const Finished finished = process.finish();
      CHECK(finished.status == status);
      CHECK(finished.out.empty());
      CHECK(finished.err.empty());
    }
  }
}

TEST_CASE("signals: while the prompt is read by the model") {
  std::string words;
  for (int i = 0; i < 6000; ++i) words += "and on ";
  for (const auto& [signal_number, status] : {std::pair(SIGINT, 130), std::pair(SIGTERM, 143)}) {
    Setup setup = endless({"--jsonl"});
    setup.in = Stream::bytes(words);
    Process process(std::move(setup));
    CHECK(process.wait_for_output("\"start\""));
    process.send(signal_number);
    const Finished finished = process.finish();
    CHECK(finished.status == status);
    CHECK(last_line(finished.out)["finish"] == "cancelled");
  }
}

TEST_CASE("signals: a second one ends the program at once") {
  Setup setup = endless({"--jsonl"});
  Process process(std::move(setup));
  CHECK(process.wait_for_output("\"token\""));
  process.let_output_fill();  // the first one would wait a moment for a reader
  process.send(SIGINT);
  process.send(SIGTERM);
  const int status = process.exit_status_unread();
  CHECK((status == 130 || status == 143));
}

TEST_CASE("signals: while stdin is awaited") {
  for (const auto& [signal_number, status] : {std::pair(SIGINT, 130), std::pair(SIGTERM, 143)}) {
    Setup setup = endless();
    setup.in = Stream::held_pipe();
    Process process(std::move(setup));
    process.pump(0.1);
    process.send(signal_number);
    const int found = process.finish().status;
    CHECK((found == status || found == -signal_number));  // the latter: before main() began
  }
}

TEST_CASE("signals: at any moment of the start and the load") {
  for (int step = 0; step < 30; ++step) {
    const auto [signal_number, ends] =
        step % 2 == 0 ? std::pair(SIGINT, 130) : std::pair(SIGTERM, 143);
    Process process(endless({"-n", "2"}));
    process.pump(step * 0.0005);
    process.send(signal_number);
    const int status = process.finish().status;
    INFO(step);
    // The last: before main() began.
    CHECK((status == ends || status == 0 || status == -signal_number));
  }
}

TEST_CASE("signals: other commands end at once") {
  Setup setup;
  setup.args = {"tokenize", "-m", tiny_model_path(), "-"};
  setup.in = Stream::held_pipe();
  Process process(std::move(setup));
  process.pump(0.1);
  process.send(SIGINT);
  const int found = process.finish().status;
  CHECK((found == 130 || found == -SIGINT));
}

TEST_CASE("signals: Ctrl-C typed into the terminal") {
  Setup setup = endless();
  setup.in = setup.out = setup.err = Stream::terminal();
  Process process(std::move(setup));
  while (process.out().size() < 30) process.pump(0.01);
  process.type("\x03");
  const Finished finished = process.finish();
  CHECK(finished.status == 130);
  CHECK(finished.out.ends_with('\n'));
}

TEST_CASE("signals: what the parent ignores stays ignored") {
  Setup setup = endless({"-n", "30"});
  setup.ignore_interrupt = true;
  Process process(std::move(setup));
  while (process.out().empty()) process.pump(0.01);
  process.send(SIGINT);
  CHECK(process.finish().status == 0);
}

TEST_CASE("signals: a reader that does not read can't hold the program") {
  for (int i = 0; i < 12; ++i) {  // any thread may be the one that the signal interrupts
    Process process(endless({"--jsonl"}));
    CHECK(process.wait_for_output("\"token\""));
    process.let_output_fill();
    process.send(SIGINT);
    CHECK(process.exit_status_unread() == 130);
  }
}
