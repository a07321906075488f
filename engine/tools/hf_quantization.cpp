// What config.json says: quant_method and its many synonyms.
#include "engine/tools/hf_quantization.h"

#include "engine/core/text.h"
#include "engine/tools/hf_json.h"

namespace lm::hf {
namespace {

constexpr int64_t kMaxGroup = 1 << 20;
constexpr uint64_t kMaxConfigBytes = 1 << 20;

Error unsupported(const Object& in, std::string_view expected, std::string_view found) {
  return Error{ErrorCode::unsupported,
               concat(in.file(), ": expected ", expected, ", found ", printable(found))};
}

// The first of several names for one thing that is there.
std::string_view present(const Object& in, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) {
    if (in.has(key)) return key;
  }
  return *keys.begin();
}

Status read_bits_and_group(const Object& in, Quantization& q) {
  q.bits = LM_TRY(in.integer(present(in, {"bits", "w_bit", "wbits"}), 2, 8));
  const std::string_view key = present(in, {"group_size", "q_group_size", "groupsize"});
  q.group_size = LM_TRY(in.integer(key, -1, kMaxGroup, 128));
  if (q.group_size == 0) return in.wrong(key, "-1 or a number of columns");
  return ok();
}

Result<Quantization> read_gptq(const Object& in) {
  Quantization q{.layout = Quantization::Layout::gptq, .name = "gptq"};
  LM_TRY(read_bits_and_group(in, q));
  if (q.bits != 2 && q.bits != 3 && q.bits != 4 && q.bits != 8) {
    return unsupported(in, "2, 3, 4 or 8 bits", concat(q.bits));
  }
  q.symmetric = LM_TRY(in.boolean("sym", false));
  const std::string format = LM_TRY(in.str(present(in, {"checkpoint_format", "format"}), "gptq"));
  if (format == "marlin" || LM_TRY(in.boolean("is_marlin_format", false))) {
    return unsupported(in, "GPTQ weights in their own order",
                       "a checkpoint repacked for the Marlin kernel");
  }
  if (format != "gptq" && format != "gptq_v2" && format != "gemm") {
    return unsupported(in, "the checkpoint format gptq or gptq_v2", format);
  }
  q.zeros_minus_one = format != "gptq_v2";
  const SortedJson* dynamic = in.find("dynamic");
  if (dynamic != nullptr && dynamic->is_object() && !dynamic->empty()) {
    q.bits = q.group_size = 0;
    q.symmetric = false;
  }
  return q;
}

Result<Quantization> read_awq(const Object& in) {
  Quantization q{.name = "awq"};
  LM_TRY(read_bits_and_group(in, q));
  if (q.bits != 4) return unsupported(in, "AWQ of 4 bits", concat(q.bits));
  const std::string version = LM_TRY(in.str("version", "gemm"));
  std::string lower = version;
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
  if (lower == "gemm" || lower == "exllama") {
    q.layout = Quantization::Layout::awq_gemm;
  } else if (lower == "gemv") {
    q.layout = Quantization::Layout::awq_gemv;
  } else {
    return unsupported(in, "AWQ of version gemm or gemv", version);
  }
  return q;
}

Result<Quantization> read_compressed(const Object& in) {
  Quantization q{.layout = Quantization::Layout::compressed, .name = "compressed-tensors"};
  const std::string format = LM_TRY(in.str("format", "pack-quantized"));
  const bool known = format == "pack-quantized" || format == "int-quantized" ||
                     format == "float-quantized" || format == "naive-quantized";
  if (!known) {
    return unsupported(in, "the format pack-quantized, int-quantized or float-quantized", format);
  }
  const SortedJson* groups = in.find("config_groups");
  if (groups == nullptr || !groups->is_object() || groups->empty()) {
    return in.wrong("config_groups", "an object that is not empty");
  }
  bool first = true;
  q.zeros_promised = true;
  for (const SortedJson& group : *groups) {
    const Object weights = Object(&group, in.file()).object("weights");
    const int64_t bits = LM_TRY(weights.integer("num_bits", 2, 8));
    const bool channel = LM_TRY(weights.str("strategy", "channel")) != "group";
    const int64_t size = channel ? -1 : LM_TRY(weights.integer("group_size", 1, kMaxGroup));
    q.zeros_promised = q.zeros_promised && !LM_TRY(weights.boolean("symmetric", true));
    q.bits = first || q.bits == bits ? bits : 0;
    q.group_size = first || q.group_size == size ? size : 0;
    first = false;
  }
  return q;
}

Result<Quantization> read_fp8(const Object& in) {
  Quantization q{.layout = Quantization::Layout::fp8, .name = "fp8"};
  const SortedJson* size = in.find("weight_block_size");
  q.block_rows = q.block_cols = 128;
  if (size == nullptr) return q;
  const auto side = [](const SortedJson& n) {
    return n.is_number_unsigned() && n.get<uint64_t>() >= 1 && n.get<uint64_t>() <= kMaxGroup;
  };
  if (!size->is_array() || size->size() != 2 || !side((*size)[0]) || !side((*size)[1])) {
    return in.wrong("weight_block_size", "a list of two numbers");
  }
  q.block_rows = (*size)[0].get<int64_t>();
  q.block_cols = (*size)[1].get<int64_t>();
  return q;
}

Result<Quantization> read_method(const Object& in) {
  std::string fallback = in.has("w_bit") || in.has("version") ? "awq" : "gptq";
  const std::string method = LM_TRY(in.str("quant_method", std::move(fallback)));
  if (method == "mxfp4") return Quantization{};
  if (method == "gptq") return read_gptq(in);
  if (method == "awq") return read_awq(in);
  if (method == "auto-round" || method == "intel/auto-round") {  // one of the two, under its name
    const std::string packing = LM_TRY(in.str("packing_format", "auto_round:auto_gptq"));
    return packing.ends_with("awq") ? read_awq(in) : read_gptq(in);
  }
  if (method == "compressed-tensors") return read_compressed(in);
  if (method == "fp8" || method == "fbgemm_fp8") return read_fp8(in);
  if (method == "marlin") {
    return unsupported(in, "weights in their own order",
                       "a checkpoint repacked for the Marlin kernel");
  }
  return unsupported(in, "the quantization method gptq, awq, compressed-tensors, fp8 or mxfp4",
                     method);
}

}  // namespace

Result<Quantization> read_quantization(const SortedJson& config,
                                       const std::filesystem::path& folder) {
  const Object root(&config, "config.json");
  for (const std::string_view key : {"quantization_config", "compression_config"}) {
    const SortedJson* own = root.find(key);
    if (own != nullptr && !own->is_object()) return root.wrong(key, "an object");
    if (own != nullptr) return read_method(root.object(key));
  }
  for (const char* file : {"quantize_config.json", "quant_config.json"}) {
    const SortedJson json = LM_TRY(read_json(folder / file, kMaxConfigBytes));
    if (json.is_object()) return read_method(Object(&json, file));
  }
  return Quantization{};
}

std::vector<std::string> QuantizationNotes::text() const {
  std::vector<std::string> notes;
  if (zeros_of_second_format > 0) {
    notes.push_back(concat(zeros_of_second_format,
                           " matrices hold zero-points as gptq_v2 does, though the checkpoint "
                           "does not say so"));
  }
  if (ambiguous_zeros > 0) {
    notes.push_back(concat(ambiguous_zeros,
                           " matrices hold zero-points that overflow in the first GPTQ format; "
                           "they are taken as 0, as GPTQModel writes them"));
  }
  return notes;
}

}  // namespace lm::hf
