// Blocks in a folder: found again whole or not at all, by any number of processes, whenever they
// are killed.
#include "engine/kv/disk_cache.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <vector>

#include "engine/kv/disk_trim.h"
#include "engine/kv/fingerprint.h"
#include "tests/support/support.h"

namespace lm {
namespace {

constexpr size_t kPayload = 40000;

// The i-th of the blocks of these tests, with a content that nothing else has.
struct Sample {
  std::vector<TokenId> tokens;
  BlockRecord record;
  std::vector<std::byte> payload;

  explicit Sample(int i) : tokens(16, TokenId(i)), payload(kPayload) {
    record = {.space = {1, 2}, .parent = {uint64_t(i) * 7, 9}, .index = i, .tokens = tokens};
    test::Random random{uint64_t(i)};
    for (std::byte& byte : payload) byte = std::byte(random.next());
  }
};

std::unique_ptr<DiskCache> open(const std::filesystem::path& folder, uint64_t budget = uint64_t(1)
                                                                                       << 30) {
  return test::require_ok(DiskCache::open({.folder = folder, .byte_budget = budget}));
}

bool found(DiskCache& cache, const Sample& sample) {
  const auto hit = cache.find(sample.record, kPayload);
  if (hit) {
    REQUIRE(std::equal(hit->payload.begin(), hit->payload.end(), sample.payload.begin(),
                       sample.payload.end()));
  }
  return hit.has_value();
}

TEST_CASE("what was stored is found, by its tokens, parent, place and space only") {
  const test::TempDir folder;
  const Sample sample(3);
  const auto cache = open(folder.path() / "cache");
  CHECK_FALSE(found(*cache, sample));
  REQUIRE(cache->has_room(kPayload));
  cache->store(sample.record, sample.payload);
  REQUIRE(cache->flush(60));
  CHECK(cache->contains(sample.record));
  CHECK(found(*cache, sample));

  const auto missing = [&](auto change) {
    BlockRecord record = sample.record;
    change(record);
    return !cache->find(record, kPayload).has_value();
  };
  const std::vector<TokenId> others(16, 4);
  CHECK(missing([&](BlockRecord& r) { r.tokens = others; }));
  CHECK(missing([](BlockRecord& r) { r.parent.high ^= 1; }));
  CHECK(missing([](BlockRecord& r) { r.space.low ^= 1; }));
  CHECK(missing([](BlockRecord& r) { r.index = 4; }));
  CHECK(found(*cache, sample));
  CHECK_FALSE(cache->find(sample.record, kPayload - 1));  // of another layout: of no use, and gone
  CHECK_FALSE(cache->contains(sample.record));
}

TEST_CASE("only the owner can look into the folder") {
  const test::TempDir folder;
  const auto path = folder.path() / "deep" / "cache";
  open(path);
  struct stat info {};
  for (const auto& each : {path, path / "kv"}) {
    REQUIRE(::stat(each.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0700);
  }
  ::chmod(path.c_str(), 0755);
  open(path);
  REQUIRE(::stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0700);
}

TEST_CASE("a folder that can't be one is an error that says so") {
  const test::TempDir folder;
  std::ofstream(folder.path() / "file") << "x";
  std::filesystem::create_directory_symlink(folder.path(), folder.path() / "link");
  for (const auto& path : {folder.path() / "file", folder.path() / "link",
                           folder.path() / "file" / "below", std::filesystem::path()}) {
    CAPTURE(path.native());
    const auto result = DiskCache::open({.folder = path});
    REQUIRE_FALSE(result.ok());
    CHECK(result.error().code == ErrorCode::io);
    CHECK(result.error().message.find("cache") != std::string::npos);
  }
}

TEST_CASE("where caches lie") {
  CHECK(cache_folder("/x/cache", "/home/me") == "/x/cache/llm");
  CHECK(cache_folder(nullptr, "/home/me") == "/home/me/.cache/llm");
  CHECK(cache_folder("relative", "/home/me") == "/home/me/.cache/llm");
  CHECK(cache_folder("", nullptr).empty());
}

TEST_CASE("the budget holds; the oldest go first, a text's last blocks before its first") {
  const test::TempDir folder;
  const auto path = folder.path() / "cache";
  {
    const auto cache = open(path);
    for (int i = 0; i < 20; ++i) {
      cache->store(Sample(i).record, Sample(i).payload);
      REQUIRE(cache->flush(60));
    }
  }
  const auto age = [&](int i, int hours) {
    const auto now = std::filesystem::file_time_type::clock::now();
    for (const auto& file : std::filesystem::recursive_directory_iterator(path / "kv")) {
      const std::string name = file.path().filename();
      if (name.ends_with("-" + std::to_string(i))) {
        std::filesystem::last_write_time(file.path(), now - std::chrono::hours(hours));
      }
    }
  };
  for (int i = 5; i < 10; ++i) age(i, 48);
  const auto unfinished = path / "kv" / ".llm.123.0";  // of a FileWriter that was ended
  REQUIRE(std::ofstream(unfinished).put('x').good());
  std::filesystem::last_write_time(
      unfinished, std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
  const uint64_t left = trim_blocks(path / "kv", 15 * kPayload);
  CHECK(left <= 15 * kPayload);
  CHECK_FALSE(std::filesystem::exists(unfinished));
  const auto cache = open(path);
  for (int i = 0; i < 20; ++i) {
    CAPTURE(i);
    const bool old = i >= 5 && i < 10;
    if (i < 5 || i == 10) CHECK(found(*cache, Sample(i)));
    if (old || i == 19) CHECK_FALSE(found(*cache, Sample(i)));
  }
}

TEST_CASE("a program keeps the folder within its budget while it writes") {
  const test::TempDir folder;
  const auto cache = open(folder.path() / "cache", 10 * kPayload);
  for (int i = 0; i < 40; ++i) {
    cache->store(Sample(i).record, Sample(i).payload);
    REQUIRE(cache->flush(60));
  }
  uint64_t bytes = 0;
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder.path())) {
    if (file.is_regular_file()) bytes += file.file_size();
  }
  CHECK(bytes <= 11 * kPayload);
}

// A program that stores blocks, tells `told` of each, and is killed in the middle of it.
[[noreturn]] void write_until_killed(const std::filesystem::path& folder, int first, int told) {
  auto cache = DiskCache::open({.folder = folder});
  for (int i = first; cache.ok(); i = (i + 1) % 50) {
    const Sample sample(i);
    while (!cache.value()->has_room(kPayload)) cache.value()->flush(1);
    cache.value()->store(sample.record, sample.payload);
    if (::write(told, "x", 1) != 1) break;
  }
  _exit(1);
}

TEST_CASE("killed while writing, two hundred times: what is found is right") {
  const test::TempDir folder;
  const auto path = folder.path() / "cache";
  test::Random random(11);
  int hits = 0;
  for (int round = 0; round < 200; ++round) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    if (child == 0) write_until_killed(path, int(random.below(50)), ends[1]);
    ::close(ends[1]);
    char byte = 0;
    for (uint64_t n = 1 + random.below(8); n > 0; --n) REQUIRE(::read(ends[0], &byte, 1) == 1);
    ::kill(child, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    ::close(ends[0]);
    const auto cache = open(path);
    for (int i = 0; i < 50; i += 7) hits += found(*cache, Sample(i));
    // Now and then something is to be written anew.
    if (random.below(8) == 0) std::filesystem::remove_all(path / "kv");
  }
  CHECK(hits > 0);
}

TEST_CASE("several programs write and read the same blocks at once") {
  const test::TempDir folder;
  const auto path = folder.path() / "cache";
  std::vector<pid_t> children;
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  for (int i = 0; i < 3; ++i) {
    children.push_back(::fork());
    if (children.back() == 0) write_until_killed(path, i * 3, ends[1]);
  }
  const auto cache = open(path);
  char byte = 0;
  int hits = 0;
  for (int n = 0; n < 300; ++n) {
    REQUIRE(::read(ends[0], &byte, 1) == 1);
    hits += found(*cache, Sample(n % 50));
  }
  CHECK(hits > 100);
  for (const pid_t child : children) {
    ::kill(child, SIGKILL);
    REQUIRE(::waitpid(child, nullptr, 0) == child);
  }
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("a fingerprint is of the bytes, remembered by the stamp, and gone with a change") {
  const test::TempDir folder;
  const auto path = folder.path() / "model";
  std::ofstream(path) << "some weights";
  const std::atomic<bool> stopping{false};
  const StampedFile file = test::require_ok(stamp_file(path));
  CHECK_FALSE(known_fingerprint(std::span(&file, 1), folder.path()));
  const auto value = fingerprint(std::span(&file, 1), folder.path(), stopping);
  REQUIRE(value);
  CHECK(known_fingerprint(std::span(&file, 1), folder.path()) == value);

  std::ofstream(path) << "other weight";
  CHECK_FALSE(known_fingerprint(std::span(&file, 1), folder.path()));
  CHECK_FALSE(fingerprint(std::span(&file, 1), folder.path(), stopping));
  const StampedFile changed = test::require_ok(stamp_file(path));
  CHECK(fingerprint(std::span(&changed, 1), folder.path(), stopping) != value);
}

TEST_CASE("a damaged memo of a fingerprint is none") {
  const test::TempDir folder;
  const auto path = folder.path() / "model";
  std::ofstream(path) << "some weights";
  const StampedFile file = test::require_ok(stamp_file(path));
  const auto value = fingerprint(std::span(&file, 1), folder.path(), std::atomic<bool>(false));
  for (const auto& each : std::filesystem::directory_iterator(folder.path())) {
    if (each.path() == path) continue;
    std::fstream bytes(each.path(), std::ios::in | std::ios::out | std::ios::binary);
    bytes.put('x');
  }
  CHECK_FALSE(known_fingerprint(std::span(&file, 1), folder.path()));
  CHECK(fingerprint(std::span(&file, 1), folder.path(), std::atomic<bool>(false)) == value);
}

}  // namespace
}  // namespace lm
