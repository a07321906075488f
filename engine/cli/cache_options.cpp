#include "engine/cli/cache_options.h"

#include <cstdlib>

#include "engine/cli/terminal.h"
#include "engine/core/text.h"

namespace lm::cli {

void CacheOptions::declare(Options& options) {
  options.group("KV cache on disk");
  options.value(
      "--cache-dir", "DIR",
      [this](std::string_view word) -> Status {
        if (word.empty()) return Error{ErrorCode::bad_request, "expected a folder, found nothing"};
        folder = word;
        return ok();
      },
      "keep what was computed of a text in this folder, for later programs (default: only the chat "
      "does, in $XDG_CACHE_HOME/llm or ~/.cache/llm)");
  options.setting();
  options.flag("--no-disk-cache", off, "keep nothing on disk");
  options.setting();
  options.integer("--cache-size", "MIB", mebibytes, 1, 1 << 24,
                  concat("most that the folder may hold; what was not used for longest goes "
                         "(default: ",
                         mebibytes, ")"));
  options.setting();
}

std::unique_ptr<DiskCache> CacheOptions::open(bool by_default, bool quiet) const {
  if (off || (!folder && !by_default)) return nullptr;
  DiskCacheOptions options;
  options.folder = folder ? std::filesystem::path(*folder)
                          : cache_folder(std::getenv("XDG_CACHE_HOME"), std::getenv("HOME"));
  options.byte_budget = uint64_t(mebibytes) << 20;
  Result<std::unique_ptr<DiskCache>> disk = DiskCache::open(std::move(options));
  if (disk.ok()) return std::move(disk).value();
  if (!quiet) warn(concat("the KV cache is not kept on disk: ", disk.error().message));
  return nullptr;
}

}  // namespace lm::cli
