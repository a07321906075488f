// engine/tools/convert_order.h — act-order checkpoints: the columns of a matrix belong to groups in
// an order of their own. Sorted by group, blocks hold them; whoever writes the matrix's input must
// then write it in that order. The rows of the matrices before take it over where they can (up and
// gate for down: free). Otherwise a tensor "*.perm", i32 [n], tells the program:
//   blk.N.attn_norm.perm, blk.N.ffn_norm.perm, output_norm.perm: the norm reads column perm[j] of
//     its input where it would read column j; its own weights are stored in that order;
//   blk.N.attn_output.perm: so does the matrix of what the attention wrote.
#pragma once
#include <string>
#include <vector>

#include "engine/tools/convert_plan.h"
#include "gguf/writer.h"

namespace lm::hf {

// An order that went into the rows of other matrices: what an export needs to undo it.
struct FoldedOrder {
  std::string matrix;          // "blk.3.ffn_down"
  std::vector<int32_t> order;  // of every slice, one after the other
};

// Sets row_orders and col_orders of the tensors, and appends the "*.perm" tensors (none of them
// with `standard_only`). A matrix that no order suits is left as it is.
std::vector<FoldedOrder> plan_orders(const Config& config, bool standard_only,
                                     std::vector<PlannedTensor>& tensors);

// What a file keeps of the checkpoint that it was made from, for an export: the method,
// config.json, "NAME BITS GROUP" of every matrix whose integers were kept, and the folded orders.
inline constexpr std::string_view kImportPrefix = "llm.import.";
inline constexpr std::string_view kImportMethodKey = "llm.import.method";
inline constexpr std::string_view kImportConfigKey = "llm.import.config";
inline constexpr std::string_view kImportMatricesKey = "llm.import.matrices";

// The key under which a FoldedOrder is kept in the file.
std::string folded_order_key(const std::string& matrix);

}  // namespace lm::hf
