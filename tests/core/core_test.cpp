#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <vector>

#include "engine/core/file.h"
#include "engine/core/json.h"
#include "engine/core/machine.h"
#include "engine/core/text.h"
#include "engine/core/thread_pool.h"
#include "engine/core/utf8.h"
#include "tests/support/support.h"

using namespace lm;

namespace {

// From now on this process may not link files, as in some sandboxes.
bool refuse_links() {
  sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_linkat, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program = {.len = 4, .filter = rules};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

enum Outcome { written, not_written, not_tried };

// The exit status of a process that may not link files and writes one.
int write_without_links(const std::filesystem::path& path) {
  const pid_t child = fork();
  if (child == 0) {
    if (!refuse_links()) _exit(not_tried);
    Result<FileWriter> writer = FileWriter::create(path);
    const bool good =
        writer.ok() && writer.value().write("new").ok() && writer.value().commit().ok();
    _exit(good ? written : not_written);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

}  // namespace

TEST_CASE("utf8: decode agrees with append on every scalar value") {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    utf8::append(text, c);
    const utf8::Decoded d = utf8::decode(text);
    REQUIRE(d.valid);
    REQUIRE(d.code_point == c);
    REQUIRE(size_t(d.length) == text.size());
  }
}

TEST_CASE("utf8: what is not a character is replaced, one U+FFFD per maximal prefix") {
  const std::string bad = "\xEF\xBF\xBD";
  CHECK(utf8::sanitize("a\x80z") == "a" + bad + "z");
  CHECK(utf8::sanitize("\xC0\xAF") == bad + bad);                      // overlong
  CHECK(utf8::sanitize("\xED\xA0\x80") == bad + bad + bad);            // surrogate
  CHECK(utf8::sanitize("\xF4\x90\x80\x80") == bad + bad + bad + bad);  // past U+10FFFF
  CHECK(utf8::sanitize("\xE2\x82") == bad);                            // cut: one maximal prefix
  CHECK(utf8::sanitize("\xF0\x9F\x98x") == bad + "x");
  CHECK(utf8::sanitize("grüße €😀") == "grüße €😀");
  CHECK_FALSE(utf8::is_valid("\xFF"));
}

TEST_CASE("utf8: complete_prefix keeps back only what more bytes could complete") {
  const std::string text = "a€😀";
  const size_t boundaries[] = {0, 1, 1, 1, 4, 4, 4, 4, 8};
  for (size_t n = 0; n <= text.size(); ++n) {
    CHECK(utf8::complete_prefix(std::string_view(text).substr(0, n)) == boundaries[n]);
  }
  CHECK(utf8::complete_prefix("ab\x80") == 3);    // a stray byte completes nothing
  CHECK(utf8::complete_prefix("\xE2\x28") == 2);  // already broken
  CHECK(utf8::complete_prefix("\xED\xA0") == 2);  // a surrogate never becomes a character
}

TEST_CASE("text: printable never lets control bytes through") {
  CHECK(printable("a\x1b[31mb\n") == "a?[31mb?");
  CHECK(printable("\xff\xfe") == "??");
  CHECK(printable(std::string(500, 'x'), 10) == "xxxxxxxxxx...");
}

TEST_CASE("text: numbers are whole or nothing") {
  CHECK(parse_int("12") == 12);
  CHECK_FALSE(parse_int("12a"));
  CHECK_FALSE(parse_int(""));
  CHECK_FALSE(parse_int("99999999999999999999"));
  CHECK(parse_double("0.5") == 0.5);
  CHECK_FALSE(parse_double("nan"));
  CHECK_FALSE(parse_double("1e999"));
}

TEST_CASE("json: depth is bounded and mistakes are errors") {
  CHECK(parse_json("{\"a\": [1, 2]}").ok());
  CHECK_FALSE(parse_json("{\"a\": }").ok());
  CHECK_FALSE(parse_json("").ok());
  CHECK_FALSE(parse_json(std::string(1'000'000, '[')).ok());
  CHECK(parse_json("[\"[[[[\"]", 1).ok());
  CHECK(dump_json(Json("a\xff")) == "\"a\xEF\xBF\xBD\"");
}

TEST_CASE("thread pool: every index runs once, whatever the number of threads") {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (const int n : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(n));
      pool.parallel_for(n, [&](int64_t i, int thread) {
        REQUIRE(thread >= 0);
        REQUIRE(thread < threads);
        seen[size_t(i)]++;
      });
      for (const auto& count : seen) CHECK(count == 1);
    }
  }
}

TEST_CASE("thread pool: thousands of short calls back to back") {
  ThreadPool pool(3);
  std::atomic<int64_t> sum{0};
  for (int call = 0; call < 20'000; ++call) {
    pool.parallel_for(4, [&](int64_t i, int) { sum += i; });
  }
  CHECK(sum == 20'000 * 6);
}

TEST_CASE("thread pool: more threads than the machine runs at once") {
  ThreadPool pool(4 * usable_threads() + 1);
  std::atomic<int64_t> sum{0};
  for (int call = 0; call < 500; ++call) {
    pool.parallel_for(7, [&](int64_t i, int thread) {
      REQUIRE(thread < pool.size());
      sum += i;
    });
    REQUIRE(sum == 21 * (call + 1));  // all is done when the call returns
  }
}

TEST_CASE("machine: there is a core and some memory") {
  CHECK(usable_cores() >= 1);
  CHECK(usable_threads() >= usable_cores());
  CHECK(available_memory() > (1u << 20));
  CHECK(peak_rss() > 0);
}

TEST_CASE("file: written bytes come back, and only commit() shows them") {
  const test::TempDir dir;
  const auto path = dir.path() / "out.bin";
  {
    FileWriter abandoned = test::require_ok(FileWriter::create(path));
    CHECK(abandoned.write("half").ok());
  }
  CHECK(std::filesystem::is_empty(dir.path()));

  std::string big(3 << 20, 'x');
  FileWriter writer = test::require_ok(FileWriter::create(path));
  CHECK(writer.write("head").ok());
  CHECK(writer.write(big).ok());
  CHECK(writer.write("tail").ok());
  CHECK_FALSE(std::filesystem::exists(path));
  CHECK(writer.commit().ok());
  CHECK(test::require_ok(read_file(path, 4 << 20)) == "head" + big + "tail");
  CHECK_FALSE(read_file(path, 100).ok());

  const MappedFile mapped = test::require_ok(MappedFile::open(path));
  CHECK(mapped.bytes().size() == big.size() + 8);
  CHECK(std::memcmp(mapped.bytes().data(), "headxxxx", 8) == 0);
}

TEST_CASE("file: what can't be read says why") {
  const test::TempDir dir;
  CHECK_FALSE(MappedFile::open(dir.path() / "absent").ok());
  CHECK_FALSE(MappedFile::open(dir.path()).ok());
  CHECK_FALSE(MappedFile::open("/dev/null").ok());
  CHECK_FALSE(read_file(dir.path(), 10).ok());
  CHECK_FALSE(FileWriter::create(dir.path() / "no" / "such" / "folder").ok());
  CHECK_FALSE(FileWriter::create(dir.path()).ok());
}

TEST_CASE("file: an old file is replaced, whoever has it open, and gives its mode") {
  const test::TempDir dir;
  const std::filesystem::path path = dir.path() / "file";
  FileWriter first = test::require_ok(FileWriter::create(path));
  CHECK(first.write("old").ok());
  REQUIRE(first.commit().ok());
  const auto mode = std::filesystem::perms(0640);
  std::filesystem::permissions(path, mode);
  const MappedFile old = test::require_ok(MappedFile::open(path));

  {
    FileWriter abandoned = test::require_ok(FileWriter::create(path));
    CHECK(abandoned.write("half").ok());
  }
  FileWriter second = test::require_ok(FileWriter::create(path));
  CHECK(second.write("newer").ok());
  CHECK(test::require_ok(read_file(path, 10)) == "old");
  CHECK(second.commit().ok());
  CHECK(test::require_ok(read_file(path, 10)) == "newer");
  CHECK(std::filesystem::status(path).permissions() == mode);
  CHECK(std::memcmp(old.bytes().data(), "old", 3) == 0);
  CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 1);
}

TEST_CASE("file: a name may be as long as names can be; a longer one is refused at once") {
  const test::TempDir dir;
  for (const size_t length : {250, 255}) {
    const std::filesystem::path path = dir.path() / std::string(length, 'x');
    for (const std::string_view text : {"new", "newer"}) {  // a link, then a replacement
      FileWriter writer = test::require_ok(FileWriter::create(path));
      CHECK(writer.write(text).ok());
      CHECK(writer.commit().ok());
      CHECK(test::require_ok(read_file(path, 10)) == text);
    }
  }
  const auto refused = FileWriter::create(dir.path() / std::string(256, 'x'));
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == ErrorCode::bad_file);
  CHECK(refused.error().message.starts_with("cannot create "));
  CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 2);
}

TEST_CASE("file: where links are refused, files are written all the same") {
  const test::TempDir dir;
  const std::filesystem::path path = dir.path() / "file";
  for (int time = 0; time < 2; ++time) {  // a new file, then a replacement
    const int outcome = write_without_links(path);
    if (outcome == not_tried) LM_SKIP("system calls can't be refused here");
    REQUIRE(outcome == written);
    CHECK(test::require_ok(read_file(path, 10)) == "new");
  }
  CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 1);
}

TEST_CASE("file: a full disk is an error") {
  FileWriter writer = test::require_ok(FileWriter::create("/dev/full"));
  const Status written = writer.write(std::string(2 << 20, 'x'));
  CHECK_FALSE(written.ok());
  FileWriter small = test::require_ok(FileWriter::create("/dev/full"));
  CHECK(small.write("x").ok());  // buffered
  CHECK_FALSE(small.commit().ok());
}

TEST_CASE("file: behind a link the file is replaced, not the link") {
  const test::TempDir dir;
  const auto file = dir.path() / "file", link = dir.path() / "link", loop = dir.path() / "loop";
  FileWriter first = test::require_ok(FileWriter::create(file));
  REQUIRE(first.commit().ok());
  std::filesystem::create_symlink(file, link);
  FileWriter second = test::require_ok(FileWriter::create(link));
  CHECK(second.write("new").ok());
  CHECK(second.commit().ok());
  CHECK(std::filesystem::is_symlink(link));
  CHECK(test::require_ok(read_file(file, 10)) == "new");

  std::filesystem::create_symlink(loop, loop);
  for (const std::filesystem::path& bad : {loop, dir.path() / std::string(300, 'x')}) {
    const auto read = read_file(bad, 10);
    REQUIRE_FALSE(read.ok());
    CHECK(read.error().code == ErrorCode::bad_file);
  }
}
