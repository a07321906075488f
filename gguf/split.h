// gguf/split.h — models cut into several files, "NAME-00001-of-00003.gguf", as llama.cpp's
// gguf-split names them. Every part is a GGUF file; the first one holds the model's metadata.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "engine/core/result.h"
#include "gguf/parse.h"

namespace lm::gguf {

struct SplitName {
  std::string stem;  // what comes before "-00001-of-00003.gguf"
  int part;          // 1 .. count
  int count;

  std::string file_name(int part_number) const;
};

// nullopt when the name is not that of a part.
std::optional<SplitName> parse_split_name(std::string_view file_name);

// That the part's own split.no and split.count say what its name says.
Status check_split(const Part& part, const SplitName& name, int part_number);
// That a file which is not named as a part is not one.
Status check_not_split(const Part& part);
// That the parts together hold as many tensors as the first one promises.
Status check_split_tensors(const Part& first, size_t n_tensors);

}  // namespace lm::gguf
