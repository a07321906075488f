#include "engine/tools/export.h"

#include <algorithm>
#include <cstring>
#include <system_error>

#include "engine/core/file.h"
#include "engine/core/json.h"
#include "engine/core/text.h"
#include "engine/model/model.h"
#include "engine/tools/export_config.h"
#include "engine/tools/export_plan.h"
#include "engine/tools/export_tokenizer.h"
#include "engine/tools/quantize_method.h"
#include "engine/tools/tensor_source.h"
#include "gguf/safetensors_writer.h"
#include "quant/decode.h"
#include "quant/encode.h"

namespace lm {
namespace {

using safetensors::ElementType;

bool is_finite_half(uint16_t half) {
  constexpr uint16_t kExponent = 0x7C00;
  return (half & kExponent) != kExponent;
}

// The element type of plain numbers, and whether it holds them as they are.
std::pair<ElementType, bool> plain_type(DType type) {
  switch (type) {
    case DType::f32:
      return {ElementType::f32, true};
    case DType::bf16:
      return {ElementType::bf16, true};
    default:
      return {ElementType::f16, type == DType::f16};
  }
}

DType dtype_of(ElementType type) {
  return type == ElementType::f32    ? DType::f32
         : type == ElementType::bf16 ? DType::bf16
                                     : DType::f16;
}

// A tensor of the output: a whole item, or one of a GPTQ module's four.
struct Piece {
  size_t item;
  int part = 0;  // of a module: qweight, qzeros, scales, g_idx
};

class Exporter {
 public:
  Exporter(const ExportOptions& options, const gguf::File& file, std::vector<hf::ExportItem> items)
      : options_(options), file_(file), items_(std::move(items)) {}

  const std::vector<hf::ExportItem>& items() const { return items_; }
  Status declare();
  Status write(const std::filesystem::path& path, ExportReport& report);

 private:
  Status fill(const Piece& piece, ExportReport& report, const safetensors::Writer::Sink& sink);
  Status fill_plain(const hf::ExportItem& item, ExportedTensor& entry,
                    const safetensors::Writer::Sink& sink) const;

  const ExportOptions& options_;
  const gguf::File& file_;
  std::vector<hf::ExportItem> items_;
  safetensors::Writer writer_;
  std::vector<Piece> pieces_;
  GptqTensors module_;  // of the item whose pieces are being written
};

Status Exporter::declare() {
  for (size_t i = 0; i < items_.size(); ++i) {
    const hf::ExportItem& item = items_[i];
    if (!item.gptq) {
      const std::vector<int64_t> shape = item.is_vector
                                             ? std::vector<int64_t>{item.cols}
                                             : std::vector<int64_t>{item.rows, item.cols};
      LM_TRY(writer_.add_tensor(item.name, plain_type(item.from->dtype).first, shape));
      pieces_.push_back({i});
      continue;
    }
    const int64_t bits = item.gptq->bits;
    const int64_t groups = (item.cols + item.gptq->group - 1) / item.gptq->group;
    const std::string stem = item.stem();
    LM_TRY(writer_.add_tensor(stem + ".qweight", ElementType::i32,
                              {item.cols / 32 * bits, item.rows}));
    LM_TRY(writer_.add_tensor(stem + ".qzeros", ElementType::i32, {groups, item.rows * bits / 32}));
    LM_TRY(writer_.add_tensor(stem + ".scales", ElementType::f16, {groups, item.rows}));
    LM_TRY(writer_.add_tensor(stem + ".g_idx", ElementType::i32, {item.cols}));
    for (int part = 0; part < 4; ++part) pieces_.push_back({i, part});
  }
  return ok();
}

Status Exporter::fill_plain(const hf::ExportItem& item, ExportedTensor& entry,
                            const safetensors::Writer::Sink& sink) const {
  const auto [type, as_stored] = plain_type(item.from->dtype);
  const size_t in_row = row_bytes(item.from->dtype, item.cols);
  std::vector<float> stored(size_t(item.cols)), numbers(size_t(item.cols)), scratch;
  std::vector<std::byte> out(row_bytes(dtype_of(type), item.cols));
  hf::ConversionError error;
  for (int64_t row = 0; row < item.rows; ++row) {
    const int64_t from = item.rows_from.empty() ? row : item.rows_from[size_t(row)];
    decode(item.from->dtype, item.data + size_t(from) * in_row, stored.data(), item.cols);
    if (!all_finite(stored)) return not_finite(*item.from);
    for (size_t k = 0; k < numbers.size(); ++k)
      numbers[k] = stored[item.cols_from.empty() ? k : size_t(item.cols_from[k])] + item.add;
    encode(dtype_of(type), numbers, out.data());
    if (!as_stored) hf::measure(dtype_of(type), out.data(), numbers, scratch, error);
    LM_TRY(sink(out));
  }
  entry.exact = error.exact;
  entry.largest_error = error.largest;
  entry.relative_rms_error = error.relative_rms();
  return ok();
}

Status Exporter::fill(const Piece& piece, ExportReport& report,
                      const safetensors::Writer::Sink& sink) {
  const hf::ExportItem& item = items_[piece.item];
  if (!item.gptq) return fill_plain(item, report.tensors[piece.item], sink);
  if (piece.part == 0) {
    module_ = gptq_tensors({item.from->dtype, item.data, item.rows, item.cols}, *item.gptq,
                           item.rows_from, item.cols_from);
    if (!std::ranges::all_of(module_.scales, is_finite_half)) return not_finite(*item.from);
    return sink(std::as_bytes(std::span(module_.qweight)));
  }
  if (piece.part == 1) return sink(std::as_bytes(std::span(module_.qzeros)));
  if (piece.part == 2) return sink(std::as_bytes(std::span(module_.scales)));
  return sink(std::as_bytes(std::span(module_.g_idx)));
}

Status Exporter::write(const std::filesystem::path& path, ExportReport& report) {
  for (const hf::ExportItem& item : items_) {
    const auto format = [&]() -> std::string {
      if (!item.gptq) return std::string(dtype_name(dtype_of(plain_type(item.from->dtype).first)));
      return concat("gptq ", item.gptq->bits, "-bit g", item.gptq->group,
                    item.gptq->symmetric ? " sym" : " asym",
                    item.cols_from.empty() ? "" : " act-order");
    };
    report.tensors.push_back({.name = item.name, .type = item.from->dtype, .format = format()});
  }
  uint64_t done = 0;
  return writer_.write(path, [&](size_t i, const safetensors::Writer::Sink& sink) -> Status {
    if (options_.stop && options_.stop())
      return Error{ErrorCode::cancelled, "the export was stopped; nothing was written"};
    LM_TRY(fill(pieces_[i], report, [&](std::span<const std::byte> bytes) -> Status {
      done += bytes.size();
      return sink(bytes);
    }));
    const bool last = i + 1 == pieces_.size() || pieces_[i + 1].item != pieces_[i].item;
    if (last) file_.release(items_[pieces_[i].item].from->bytes);
    if (options_.progress) options_.progress(done, writer_.bytes());
    return ok();
  });
}

Status write_text(const std::filesystem::path& path, std::string_view text) {
  FileWriter file = LM_TRY(FileWriter::create(path));
  LM_TRY(file.write(text));
  return file.commit();
}

// The folder, there and empty: nothing of anybody's is written over.
Status prepare_folder(const std::filesystem::path& out) {
  std::error_code failed;
  std::filesystem::create_directories(out, failed);
  if (failed || !std::filesystem::is_directory(out, failed)) {
    return Error{ErrorCode::io, concat("expected a folder that can be written at ",
                                       printable(out.native(), 1000))};
  }
  if (std::filesystem::is_empty(out, failed)) return ok();
  return Error{ErrorCode::bad_request, concat("expected a folder that is empty or absent, found ",
                                              printable(out.native(), 1000))};
}

Status write_folder(const ExportOptions& options, const gguf::File& file, const ModelConfig& config,
                    const hf::Family& family, Exporter& exporter, ExportReport& report) {
  const Json quantization = hf::gptq_config(exporter.items());
  const Json json = LM_TRY(hf::export_config(file, config, family, quantization));
  LM_TRY(exporter.write(options.out / "model.safetensors", report));
  for (const hf::TokenizerFile& one : LM_TRY(hf::export_tokenizer(file, report.notes)))
    LM_TRY(write_text(options.out / one.name, one.text));
  if (!quantization.is_null())
    LM_TRY(write_text(options.out / "quantize_config.json", quantization.dump(2) + "\n"));
  // Last: only then is the folder a model.
  return write_text(options.out / "config.json",
                    json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace

Result<ExportReport> export_hf_gptq(const ExportOptions& options) {
  const gguf::File file = LM_TRY(gguf::File::open(options.in));
  const ModelConfig config = LM_TRY(read_config(file));
  const hf::Family* family = hf::family_of_file(file, config);
  if (family == nullptr) {
    return Error{ErrorCode::unsupported,
                 concat("expected a family with a Hugging Face counterpart here, found ",
                        printable(config.family))};
  }
  ExportReport report;
  report.family = family->hf;
  Exporter exporter(options, file, LM_TRY(hf::plan_export(file, config, *family)));
  LM_TRY(exporter.declare());
  LM_TRY(prepare_folder(options.out));
  Status written = write_folder(options, file, config, *family, exporter, report);
  if (written.ok()) return report;
  std::error_code ignored;
  for (const char* name : {"model.safetensors", "quantize_config.json", "tokenizer.json",
                           "tokenizer.model", "tokenizer_config.json"}) {
    std::filesystem::remove(options.out / name, ignored);
  }
  std::filesystem::remove(options.out, ignored);  // only when it is empty
  return std::move(written).error();
}

}  // namespace lm
