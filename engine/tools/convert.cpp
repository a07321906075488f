#include "engine/tools/convert.h"

#include <algorithm>
#include <array>
#include <system_error>

#include "engine/core/text.h"
#include "engine/tools/convert_order.h"
#include "engine/tools/convert_plan.h"
#include "engine/tools/convert_types.h"
#include "engine/tools/convert_verify.h"
#include "engine/tools/hf_config.h"
#include "engine/tools/hf_json.h"
#include "engine/tools/hf_vocab.h"
#include "engine/tools/recipes.h"
#include "engine/tools/rewrite.h"
#include "gguf/safetensors.h"
#include "gguf/writer.h"
#include "quant/encode.h"

namespace lm {
namespace {

constexpr uint64_t kMaxConfigBytes = 1 << 20;

uint64_t n_elements(const hf::PlannedTensor& tensor) {
  uint64_t n = 1;
  for (const int64_t dim : tensor.dims) n *= uint64_t(dim);
  return n;
}

uint64_t output_bytes(const hf::PlannedTensor& tensor) {
  return n_elements(tensor) / uint64_t(tensor.dims[0]) * row_bytes(tensor.type, tensor.dims[0]);
}

// The format that most bytes of the output are in.
DType main_type(const std::vector<hf::PlannedTensor>& tensors) {
  std::array<uint64_t, kDTypeCount> bytes{};
  for (const hf::PlannedTensor& tensor : tensors)
    bytes[size_t(tensor.type)] += output_bytes(tensor);
  return DType(std::ranges::max_element(bytes) - bytes.begin());
}

// Renamed into place, the output would take the place of a file that only exists once.
Status check_output_is_no_input(const ConvertOptions& options) {
  std::error_code failed;
  std::filesystem::directory_iterator entry(options.in, failed);
  for (; !failed && entry != std::filesystem::directory_iterator(); entry.increment(failed)) {
    std::error_code unlike;
    const std::filesystem::path& file = entry->path();
    if (file.extension() != ".gguf" && std::filesystem::equivalent(file, options.out, unlike)) {
      return Error{ErrorCode::bad_request,
                   concat("expected an output apart from the model's own files, found ",
                          printable(options.out.native(), 1000))};
    }
  }
  return ok();
}

Status check_request(const ConvertOptions& options) {
  for (const std::optional<DType>& type : {options.type, options.head}) {
    if (type && !can_encode(*type)) {
      return Error{ErrorCode::bad_request,
                   concat("expected a type that can be written, found ", dtype_name(*type))};
    }
  }
  std::error_code ignored;
  if (!std::filesystem::is_directory(options.in, ignored)) {
    return Error{ErrorCode::bad_file, concat("expected a folder with a model, found none at ",
                                             printable(options.in.native(), 1000))};
  }
  LM_TRY(check_output_path(options.out));
  return check_output_is_no_input(options);
}

Result<SortedJson> read_config_json(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  SortedJson json = LM_TRY(hf::read_json(path, kMaxConfigBytes));
  if (!json.is_object()) {
    return Error{ErrorCode::bad_file, concat("expected a JSON object in ",
                                             printable(path.native(), 1000), ", found none")};
  }
  return json;
}

void write_general(const ConvertOptions& options, const hf::Config& config, DType type,
                   gguf::Writer& writer) {
  std::error_code ignored;  // (then the name is shorter)
  const std::filesystem::path folder =
      std::filesystem::absolute(options.in / "", ignored).lexically_normal().parent_path();
  writer.set_str("general.architecture", config.family->gguf);
  writer.set_str("general.type", "model");
  writer.set_str("general.name", printable(folder.filename().native(), 200));
  writer.set_u32("general.file_type", file_type(type));
  writer.set_u32("general.quantization_version", 2);
}

// What an export needs to give the checkpoint back as it was.
void write_provenance(const hf::Quantization& quantization, const SortedJson& config,
                      const std::vector<hf::PlannedTensor>& tensors,
                      const std::vector<hf::FoldedOrder>& folded, gguf::Writer& writer) {
  if (quantization.layout == hf::Quantization::Layout::none) return;
  writer.set_str(hf::kImportMethodKey, quantization.name);
  writer.set_str(hf::kImportConfigKey,
                 config.dump(-1, ' ', false, SortedJson::error_handler_t::replace));
  std::vector<std::string> matrices;
  for (const hf::PlannedTensor& tensor : tensors) {
    if (tensor.source.ints.empty() || tensor.recoding != hf::Recoding::integers) continue;
    const IntMatrix& m = tensor.source.ints.front();
    matrices.push_back(concat(tensor.name, " ", m.bits(), " ", std::min(m.group_size, m.cols)));
  }
  writer.set_strs(hf::kImportMatricesKey, matrices);
  for (const hf::FoldedOrder& order : folded)
    writer.set_i32s(hf::folded_order_key(order.matrix), order.order);
}

std::string describe_source(const hf::PlannedTensor& tensor) {
  if (!tensor.from_folder()) return "computed";
  if (!tensor.source.scheme.empty()) return tensor.source.scheme;
  return std::string(dtype_name(tensor.source.stored));
}

// What was read stays in memory until it is given back: after this many bytes.
constexpr uint64_t kReleaseBytes = uint64_t{256} << 20;

Status write_file(const ConvertOptions& options, const std::vector<hf::PlannedTensor>& tensors,
                  const safetensors::File& source, gguf::Writer& writer, ConvertReport& report) {
  for (const hf::PlannedTensor& tensor : tensors)
    LM_TRY(writer.add_tensor(tensor.name, tensor.type, tensor.dims));
  const uint64_t total = report.tensor_bytes;
  uint64_t done = 0, released = 0;
  return writer.write(options.out, [&](size_t i, const gguf::Writer::Sink& sink) -> Status {
    const auto counted = [&](std::span<const std::byte> bytes) -> Status {
      if (options.stop && options.stop()) {
        return Error{ErrorCode::cancelled, "the conversion was stopped; nothing was written"};
      }
      LM_TRY(sink(bytes));
      done += bytes.size();
      if (options.progress) options.progress(done, total);
      return ok();
    };
    const hf::PlannedTensor& tensor = tensors[i];
    if (!tensor.computed.empty()) return counted(std::as_bytes(std::span(tensor.computed)));
    if (!tensor.computed_ints.empty())
      return counted(std::as_bytes(std::span(tensor.computed_ints)));
    ConvertedTensor& entry = report.tensors[i];
    hf::ConversionError error;
    LM_TRY(hf::stream_tensor(tensor.source, tensor.type, tensor.recoding,
                             entry.exact ? nullptr : &error, counted));
    if (done - released >= kReleaseBytes) {
      source.release();
      released = done;
    }
    entry.exact = error.exact;
    entry.largest_error = error.largest;
    entry.relative_rms_error = error.relative_rms();
    return ok();
  });
}

}  // namespace

Result<ConvertReport> convert(const ConvertOptions& options) {
  LM_TRY(check_request(options));
  const SortedJson json = LM_TRY(read_config_json(options.in));
  const hf::Config config = LM_TRY(hf::read_hf_config(json));
  const hf::Quantization quantization = LM_TRY(hf::read_quantization(json, options.in));
  const safetensors::File file = LM_TRY(safetensors::File::open(options.in));

  ConvertReport report;
  std::vector<hf::PlannedTensor> tensors =
      LM_TRY(hf::plan_tensors(config, quantization, file, report.notes));
  std::vector<hf::FoldedOrder> folded;
  if (!options.type) folded = hf::plan_orders(config, options.compat, tensors);
  LM_TRY(hf::choose_types({.type = options.type,
                           .output = options.head,
                           .exact = options.exact,
                           .standard_only = options.compat},
                          tensors, report.notes));
  report.family = config.family->hf;
  report.architecture = config.family->gguf;
  report.n_tensors = tensors.size();
  for (const hf::PlannedTensor& tensor : tensors) {
    report.n_parameters += n_elements(tensor);
    report.tensor_bytes += output_bytes(tensor);
    report.tensors.push_back({.name = tensor.name,
                              .source = describe_source(tensor),
                              .type = tensor.type,
                              .exact = hf::exact_by_construction(tensor),
                              .bytes = output_bytes(tensor)});
  }

  gguf::Writer writer;
  write_general(options, config, main_type(tensors), writer);
  hf::write_config(config, writer);
  if (options.vocab) {
    const hf::Vocab vocab = LM_TRY(hf::read_vocab(options.in, json, config.n_vocab, report.notes));
    hf::write_vocab(vocab, writer);
  }
  write_provenance(quantization, json, tensors, folded, writer);
  LM_TRY(write_file(options, tensors, file, writer, report));
  LM_TRY(hf::check_written(options.out, file, tensors, options.verify, options.stop, report));
  return report;
}

std::vector<std::string_view> convertible_families() {
  std::vector<std::string_view> names;
  for (const hf::Family& family : hf::families()) names.push_back(family.hf);
  return names;
}

}  // namespace lm
