#include "engine/kv/disk_trim.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "engine/core/text.h"

namespace lm {
namespace {

constexpr int64_t kHour = 3600;      // seconds
constexpr int64_t kUnfinished = 60;  // seconds: nobody writes one block for so long

struct Entry {
  std::string path;
  uint64_t bytes = 0;
  int64_t used = 0;   // seconds
  int64_t index = 0;  // of the block in its text

  auto order() const { return std::tuple(used / kHour, -index, used); }
};

// "<32 hex digits>-<index>"; nullopt: an unfinished file.
std::optional<int64_t> index_of(std::string_view name) {
  const size_t dash = name.find('-');
  return dash == std::string_view::npos ? std::nullopt : parse_int(name.substr(dash + 1));
}

std::vector<Entry> entries_of(const std::filesystem::path& folder) {
  using Iterator = std::filesystem::recursive_directory_iterator;
  std::vector<Entry> entries;
  const int64_t now = ::time(nullptr);
  std::error_code failed;
  Iterator file(folder, std::filesystem::directory_options::skip_permission_denied, failed);
  for (; !failed && file != Iterator(); file.increment(failed)) {
    struct stat info {};
    if (::lstat(file->path().c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    const std::optional<int64_t> index = index_of(file->path().filename().native());
    if (!index) {
      if (now - info.st_mtime > kUnfinished) ::unlink(file->path().c_str());
      continue;
    }
    entries.push_back({file->path().native(), uint64_t(info.st_size), info.st_mtime, *index});
  }
  return entries;
}

}  // namespace

uint64_t trim_blocks(const std::filesystem::path& folder, uint64_t byte_budget) {
  std::vector<Entry> entries = entries_of(folder);
  uint64_t total = 0;
  for (const Entry& entry : entries) total += entry.bytes;
  if (total <= byte_budget) return total;
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.order() < b.order(); });
  for (const Entry& entry : entries) {
    if (total <= byte_budget - byte_budget / 8) break;
    if (::unlink(entry.path.c_str()) == 0) total -= entry.bytes;
  }
  return total;
}

}  // namespace lm
