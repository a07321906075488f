#include "engine/tools/quantize.h"

#include <algorithm>
#include <chrono>

#include "engine/core/machine.h"
#include "engine/core/text.h"
#include "engine/tools/convert_order.h"
#include "engine/tools/quantize_plan.h"
#include "engine/tools/rewrite.h"

namespace lm {
namespace {

struct Job {
  Recipe recipe;
  gguf::File file;
  std::optional<Imatrix> imatrix;
  std::vector<PlannedType> plan;
  QuantizeReport report;

  const Imatrix* importance() const { return imatrix ? &*imatrix : nullptr; }
};

Result<Job> make_job(const QuantizeOptions& options) {
  const Recipe recipe = LM_TRY(find_recipe(options.recipe));
  Job job{.recipe = recipe,
          .file = LM_TRY(gguf::File::open(options.in)),
          .imatrix = {},
          .plan = {},
          .report = {}};
  if (!options.imatrix.empty()) job.imatrix = LM_TRY(read_imatrix(options.imatrix));
  QuantizeReport& report = job.report;
  job.plan = LM_TRY(plan_types(options, recipe, job.file, job.importance(), report.notes));
  report.recipe = recipe.name;
  const std::unique_ptr<QuantizeMethod> plain = make_round_to_nearest();
  const QuantizeMethod& method = options.method ? *options.method : *plain;
  LM_TRY(method.check(job.plan));
  report.method = method.name();
  for (const PlannedType& planned : job.plan) {
    const gguf::TensorInfo& from = *planned.from;
    const auto n = uint64_t(n_elements(from));
    report.tensors.push_back({.name = std::string(from.name),
                              .from = from.dtype,
                              .to = planned.type,
                              .reason = planned.reason,
                              .weighted = planned.weighted && method.uses_importance(planned),
                              .n_elements = n,
                              .from_bytes = from.bytes.size(),
                              .bytes = row_bytes(planned.type, int64_t(n))});
    report.n_elements += n;
    report.from_bytes += from.bytes.size();
    report.bytes += report.tensors.back().bytes;
  }
  return job;
}

Status check_paths(const QuantizeOptions& options, const gguf::File& file) {
  std::vector<std::filesystem::path> inputs = file.paths();
  inputs.insert(inputs.end(), options.also_read.begin(), options.also_read.end());
  if (!options.imatrix.empty()) inputs.push_back(options.imatrix);
  return check_output_path(options.out, inputs);
}

// What the new file says of itself. The integers that an import kept are gone, and with them the
// keys that tell how to give them back.
void write_metadata(const QuantizeOptions& options, const Job& job, gguf::Writer& writer) {
  const bool rounded = std::ranges::any_of(
      job.plan, [](const PlannedType& planned) { return planned.type != planned.from->dtype; });
  copy_metadata(job.file, writer, [&](std::string_view key) {
    return key == kI4gVersionKey || (rounded && key.starts_with(hf::kImportPrefix));
  });
  writer.set_u32("general.file_type", job.recipe.file_type);
  writer.set_u32("general.quantization_version", 2);
  if (!job.imatrix) return;
  const Imatrix& imatrix = *job.imatrix;
  writer.set_str("quantize.imatrix.file", printable(options.imatrix.filename().native(), 1000));
  if (!imatrix.datasets.empty())
    writer.set_str("quantize.imatrix.dataset", printable(imatrix.datasets.front(), 1000));
  writer.set_u32("quantize.imatrix.entries_count", uint32_t(imatrix.entries.size()));
  writer.set_u32("quantize.imatrix.chunks_count", imatrix.n_chunks);
}

}  // namespace

double QuantizeReport::bits_per_weight() const {
  return n_elements > 0 ? 8.0 * double(bytes) / double(n_elements) : 0;
}

Result<QuantizeReport> plan_quantize(const QuantizeOptions& options) {
  const Job job = LM_TRY(make_job(options));
  if (!options.out.empty()) LM_TRY(check_paths(options, job.file));
  return job.report;
}

Result<QuantizeReport> quantize(QuantizeOptions options) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  if (!options.method) options.method = make_round_to_nearest();
  Job job = LM_TRY(make_job(options));
  LM_TRY(check_paths(options, job.file));
  gguf::Writer writer;
  write_metadata(options, job, writer);
  for (const PlannedType& planned : job.plan)
    LM_TRY(writer.add_tensor(planned.from->name, planned.type, dims_of(*planned.from)));

  ThreadPool threads(options.n_threads > 0 ? options.n_threads : usable_cores());
  const QuantizeContext context{
      .file = job.file,
      .plan = job.plan,
      .imatrix = job.importance(),
      .threads = threads,
      .stop = options.stop,
      .notes = [&](std::string_view note) { job.report.notes.emplace_back(note); }};
  LM_TRY(options.method->prepare(context, writer));
  uint64_t done = 0;  // numbers of the tensors before
  const auto fill = [&](size_t i, const gguf::Writer::Sink& sink) -> Status {
    const QuantizedTensor& tensor = job.report.tensors[i];
    uint64_t written = 0;
    LM_TRY(options.method->fill(context, i, [&](std::span<const std::byte> bytes) -> Status {
      LM_TRY(sink(bytes));
      written += bytes.size();
      const double share = double(written) / double(std::max<uint64_t>(tensor.bytes, 1));
      if (options.progress)
        options.progress(done + uint64_t(share * double(tensor.n_elements)), job.report.n_elements);
      return ok();
    }));
    done += tensor.n_elements;
    return ok();
  };
  Status written = writer.write(options.out, fill);
  if (!written.ok()) return options.method->failed(std::move(written).error());
  options.method->finish();
  job.report.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  return job.report;
}

}  // namespace lm
