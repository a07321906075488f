// Kept conversations: their files, who may read them, locks and damage.
#include "engine/chat/store.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "tests/support/support.h"

namespace lm::chat {
namespace {

mode_t mode_of(const std::filesystem::path& path) {
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  return info.st_mode & 0777;
}

std::string message(int id, const std::string& text) {
  return message_line({.id = id, .parent = id - 1, .content = text});
}

TEST_CASE("store: files are their owner's alone, and hold what was appended") {
  const test::TempDir folder;
  const Store store(folder.path() / "share" / "llm");
  std::string id;
  {
    ConversationFile file = test::require_ok(store.create("now"));
    id = file.id();
    CHECK(mode_of(file.path()) == 0600);
    CHECK(mode_of(store.folder()) == 0700);
    CHECK(mode_of(store.folder().parent_path()) == 0700);
    test::require_ok(file.append(message(1, "a")));
    test::require_ok(file.append(message(2, "b")));
    CHECK(store.open(id).error().message.find("another terminal") != std::string::npos);
  }
  const Opened opened = test::require_ok(store.open(id));
  CHECK(opened.transcript.created == "now");
  CHECK(opened.transcript.conversation.messages().size() == 2);
}

TEST_CASE("store: conversations of one second have names of their own") {
  const test::TempDir folder;
  const Store store(folder.path());
  for (int i = 0; i < 5; ++i) test::require_ok(store.create("x"));
  CHECK(test::require_ok(store.list()).size() == 5);
}

TEST_CASE("store: a line that was cut off goes, and the next one is whole") {
  const test::TempDir folder;
  const Store store(folder.path());
  std::filesystem::path path;
  {
    ConversationFile file = test::require_ok(store.create("x"));
    test::require_ok(file.append(message(1, "a") + message(2, "lost").substr(0, 20)));
    path = file.path();
  }
  {
    Opened opened = test::require_ok(store.open(path.stem().native()));
    CHECK(opened.transcript.damaged_lines == 0);
    test::require_ok(opened.file.append(message(2, "b")));
  }
  const Opened opened = test::require_ok(store.open(path.stem().native()));
  CHECK(opened.transcript.damaged_lines == 0);
  CHECK(opened.transcript.conversation.messages().back().content == "b");
}

TEST_CASE("store: what a full disk cut off is taken back") {
  const test::TempDir folder;
  const Store store(folder.path());
  ConversationFile file = test::require_ok(store.create("x"));
  const auto before = std::filesystem::file_size(file.path());
  rlimit unlimited{};
  REQUIRE(getrlimit(RLIMIT_FSIZE, &unlimited) == 0);
  const rlimit limit{before + 10, unlimited.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  const Status status = file.append(message(1, std::string(1000, 'x')));
  REQUIRE(setrlimit(RLIMIT_FSIZE, &unlimited) == 0);
  CHECK(status.error().code == ErrorCode::io);
  CHECK(std::filesystem::file_size(file.path()) == before);
  test::require_ok(file.append(message(1, "a")));
}

TEST_CASE("store: the list names what can't be read, newest last") {
  const test::TempDir folder;
  const Store store(folder.path());
  CHECK(test::require_ok(store.list()).empty());
  CHECK(store.newest().error().code == ErrorCode::bad_request);
  {
    ConversationFile file = test::require_ok(store.create("c"));
    test::require_ok(file.append(message(1, "first question\nmore")));
    std::filesystem::last_write_time(
        file.path(), std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
  }
  std::ofstream(store.folder() / "20200101-000000.jsonl") << "not ours\n";
  std::ofstream(store.folder() / "notes.txt") << "not looked at";
  std::filesystem::create_directory(store.folder() / "1.jsonl");
  std::filesystem::last_write_time(
      store.folder() / "1.jsonl",
      std::filesystem::file_time_type::clock::now() - std::chrono::hours(2));
  const std::vector<Listed> listed = test::require_ok(store.list());
  REQUIRE(listed.size() == 3);
  CHECK_FALSE(listed[0].damage.empty());  // a folder
  CHECK(listed[1].title == "first question\nmore");
  CHECK(listed[1].n_messages == 1);
  CHECK(listed[2].damage.find("not ours") != std::string::npos);
  CHECK(test::require_ok(store.newest()) == "20200101-000000");
  CHECK(store.open("20200101-000000").error().code == ErrorCode::bad_file);
}

TEST_CASE("store: an id is no path") {
  const test::TempDir folder;
  const Store store(folder.path());
  for (const char* id : {"", "../x", "/etc/passwd", "a", "2026", "."}) {
    CHECK(store.open(id).error().code == ErrorCode::bad_request);
  }
}

TEST_CASE("store: where nothing can be written there is an error, not a crash") {
  CHECK(Store("/proc/no/such").create("x").error().code == ErrorCode::io);
  CHECK(data_folder(nullptr, nullptr).empty());
  CHECK(data_folder("relative", "/home/u") == "/home/u/.local/share/llm");
  CHECK(data_folder("/data", "/home/u") == "/data/llm");
  CHECK(data_folder("", "relative").empty());
}

}  // namespace
}  // namespace lm::chat
