// engine/cli/cache_options.h — where the KV cache is kept between programs.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "engine/cli/options.h"
#include "engine/runtime/engine.h"

namespace lm::cli {

struct CacheOptions {
  std::optional<std::string> folder;
  bool off = false;
  int mebibytes = 8192;

  void declare(Options& options);
  // Empty where none is wanted, and, after a warning, where none can be had.
  std::unique_ptr<DiskCache> open(bool by_default, bool quiet) const;
};

}  // namespace lm::cli
