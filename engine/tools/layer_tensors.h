// engine/tools/layer_tensors.h — the tensors of one layer by what they do: which matrices read the
// same input, and what produces that input. What GPTQ and AWQ need to know of an architecture.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/config.h"
#include "gguf/file.h"

namespace lm {

// Rows of a tensor: matrices that lie together (phi3) are parts of one.
struct TensorRows {
  std::string tensor;  // "blk.0.attn_v.weight"; empty: there is none
  int64_t first = 0, rows = 0;
};

// Matrices that read one input.
struct InputGroup {
  std::string watched;  // the tensor before whose product the input is seen
  int expert = -1;      // whose rows they are, of the input and of the tensors; -1: of the layer
  double share = 1;     // of the text's tokens that reach them, where all experts are liked alike
  int64_t n_cols = 0;
  std::vector<std::string> tensors;  // all matrices [.., n_cols] that read it: see rows_of()

  // Dividing these by s divides the input by s; none where that is not so.
  std::vector<TensorRows> producers;
  std::vector<int32_t> producer_row;  // of each column, where the producers have fewer rows
};

// All matrices of layer `i` but its router: first those that every token meets, then of each expert
// in its turn those before and the one behind the activation.
std::vector<InputGroup> input_groups(const gguf::File& file, const ModelConfig& config, int i);

// What a group has of one of its tensors: all rows, or one expert's where all experts lie together.
TensorRows rows_of(const gguf::TensorInfo& tensor, const InputGroup& group);

// "blk.7." of "blk.7.attn_q.weight" gives 7; -1 for other names.
int layer_of(std::string_view name);

}  // namespace lm
