// engine/tools/quantize_method.h — how the numbers of a matrix become blocks of its new type.
// `llm quantize` plans the types and writes the file; a method fills in each tensor's bytes. The
// plain one rounds every block by itself; others look at the model first.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/core/thread_pool.h"
#include "engine/tools/imatrix.h"
#include "gguf/file.h"
#include "gguf/writer.h"
#include "quant/dtype.h"

namespace lm {

// One tensor of the output: same name and shape as that of the input.
struct PlannedType {
  const gguf::TensorInfo* from;
  DType type;
  const char* reason;  // "recipe", "kept", "--tensor-type", ...
  bool weighted;       // the importance matrix has it
};

struct QuantizeContext {
  const gguf::File& file;             // the input
  std::span<const PlannedType> plan;  // of the output, in its order
  const Imatrix* imatrix;             // nullptr: none
  ThreadPool& threads;
  std::function<bool()> stop;                   // may be empty
  std::function<void(std::string_view)> notes;  // what a user should know, a sentence each
};

class QuantizeMethod {
 public:
  virtual ~QuantizeMethod() = default;
  virtual std::string_view name() const = 0;
  // Whether the method can make this of the model; a dry run asks as well.
  virtual Status check(std::span<const PlannedType>) const { return ok(); }
  // Whether it weighs the errors of this tensor by an importance matrix that has it.
  virtual bool uses_importance(const PlannedType& planned) const;
  // Before the output is opened: what takes long and must be known first. May add metadata.
  virtual Status prepare(const QuantizeContext&, gguf::Writer&) { return ok(); }
  // All bytes of tensor `index` of the plan, in order, in its type. Tensors are asked for once
  // each, in the plan's order.
  virtual Status fill(const QuantizeContext& context, size_t index,
                      const gguf::Writer::Sink& sink) = 0;
  // The output is there, whole.
  virtual void finish() {}
  // It is not: what came behind prepare() failed. May add to what is said.
  virtual Error failed(Error error) const { return error; }
};

// Each block by itself, weighted by the importance matrix where there is one.
std::unique_ptr<QuantizeMethod> make_round_to_nearest();

// Some numbers of a matrix: element `first` and those behind it, into `out`. Called from many
// threads at once.
using NumberSource = std::function<void(int64_t first, std::span<float> out)>;
// The importance of a slice's columns; empty: all alike.
using SliceImportance = std::function<std::span<const float>(int64_t slice)>;

struct EncodeJob {
  DType type;
  int64_t n_elements, cols, rows;  // slices = n_elements / (cols * rows)
  NumberSource numbers;
  SliceImportance importance;  // may be empty
};

// Encodes a piece at a time on all threads: memory does not grow with the tensor, nor with a row.
// The bytes do not depend on the number of threads.
Status encode_in_pieces(const QuantizeContext& context, const EncodeJob& job,
                        const gguf::Writer::Sink& sink);

// What make_round_to_nearest() does with a tensor: copied where it has its type already.
Status fill_plainly(const QuantizeContext& context, size_t index, const gguf::Writer::Sink& sink);

// Blocks hold no NaN and no infinity: a matrix with one is damaged.
bool all_finite(std::span<const float> numbers);
Error not_finite(const gguf::TensorInfo& tensor);

// The importance of a tensor's slices (of experts, one each), or nothing.
SliceImportance importance_of(const Imatrix* imatrix, const gguf::TensorInfo& tensor);

}  // namespace lm
