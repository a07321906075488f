// engine/kv/disk_trim.h — keeps a folder of block files within its bytes.
#pragma once
#include <cstdint>
#include <filesystem>

namespace lm {

// Removes files of <folder>/<space>/ until an eighth of the budget is free, when they have more
// bytes than it: those that were not used for longest first, and of those used in the same hour the
// last blocks of a text before the first ones, which they need. Also removes what programs that
// were ended have left unfinished. Returns the bytes that are left.
uint64_t trim_blocks(const std::filesystem::path& folder, uint64_t byte_budget);

}  // namespace lm
