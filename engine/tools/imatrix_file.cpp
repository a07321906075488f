#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/core/checked.h"
#include "engine/core/file.h"
#include "engine/core/text.h"
#include "engine/tools/imatrix.h"
#include "gguf/file.h"
#include "gguf/writer.h"

namespace lm {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{4} << 30;
constexpr size_t kMaxNameBytes = 4096;
constexpr std::string_view kSums = ".in_sum2", kCounts = ".counts";
constexpr std::string_view kDatasetsKey = "imatrix.datasets";
constexpr std::string_view kChunkCountKey = "imatrix.chunk_count";
constexpr std::string_view kChunkSizeKey = "imatrix.chunk_size";

Error bad(std::string message) {
  return Error{ErrorCode::bad_file, concat("importance matrix: ", message)};
}

Status check_numbers(std::string_view name, std::span<const float> numbers) {
  for (const float v : numbers) {
    if (std::isfinite(v) && v >= 0) continue;
    return bad(concat(printable(name), ": expected finite numbers of at least 0, found ", v));
  }
  return ok();
}

// ---- the older form: i32 n; n times {i32 length, name, i32 calls, i32 values, f32 values[]} with
// values = mean square * calls; then i32 calls, i32 length, name of the text, which may be absent

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  bool at_end() const { return rest_.empty(); }

  Result<std::string_view> take(uint64_t n, std::string_view what) {
    if (n > rest_.size()) {
      return bad(concat("expected ", n, " bytes of ", what, ", found ", rest_.size()));
    }
    const std::string_view taken = rest_.substr(0, size_t(n));
    rest_.remove_prefix(size_t(n));
    return taken;
  }
  Result<int32_t> count(int32_t least, int32_t most, std::string_view what) {
    const std::string_view bytes = LM_TRY(take(4, what));
    int32_t n;
    std::memcpy(&n, bytes.data(), sizeof n);
    if (n >= least && n <= most) return n;
    return bad(concat("expected ", what, " of ", least, " to ", most, ", found ", n));
  }

 private:
  std::string_view rest_;
};

Result<Imatrix> parse_dat(std::string_view bytes) {
  constexpr int32_t kMost = std::numeric_limits<int32_t>::max();
  Imatrix imatrix;
  Reader reader(bytes);
  const int32_t n = LM_TRY(reader.count(1, 1 << 20, "a number of matrices"));
  for (int32_t i = 0; i < n; ++i) {
    const int32_t length = LM_TRY(reader.count(1, int32_t(kMaxNameBytes), "a length of a name"));
    const std::string name(LM_TRY(reader.take(uint64_t(length), "a name")));
    const int32_t calls = LM_TRY(reader.count(0, kMost, "a number of calls"));
    const int32_t values = LM_TRY(reader.count(1, kMost, "a number of columns"));
    const std::string_view data = LM_TRY(reader.take(uint64_t(values) * sizeof(float), "numbers"));
    ImatrixEntry entry;
    entry.mean_squares.resize(size_t(values));
    std::memcpy(entry.mean_squares.data(), data.data(), data.size());
    LM_TRY(check_numbers(name, entry.mean_squares));
    for (float& v : entry.mean_squares) v /= float(std::max(calls, 1));
    entry.counts = {float(std::max(calls, 1))};
    if (!imatrix.entries.emplace(name, std::move(entry)).second)
      return bad(concat("expected each matrix once, found ", printable(name), " again"));
  }
  if (reader.at_end()) return imatrix;
  imatrix.n_chunks = uint32_t(LM_TRY(reader.count(0, kMost, "a number of calls")));
  const int32_t length = LM_TRY(reader.count(0, 1 << 20, "a length of a file name"));
  imatrix.datasets.emplace_back(LM_TRY(reader.take(uint64_t(length), "a file name")));
  return imatrix;
}

std::string dat_bytes(const Imatrix& imatrix) {
  std::string out;
  const auto number = [&](auto n) { out.append(reinterpret_cast<const char*>(&n), sizeof n); };
  number(int32_t(imatrix.entries.size()));
  const auto calls = int32_t(std::max<uint32_t>(imatrix.n_chunks, 1));
  for (const auto& [name, entry] : imatrix.entries) {
    number(int32_t(name.size()));
    out += name;
    number(calls);
    number(int32_t(entry.mean_squares.size()));
    const size_t cols = entry.mean_squares.size() / entry.counts.size();
    for (size_t i = 0; i < entry.mean_squares.size(); ++i) {
      // The form has no place for "unknown": all columns alike.
      const bool known = entry.counts[i / cols] > 0;
      number(known ? entry.mean_squares[i] * float(calls) : float(calls));
    }
  }
  number(calls);
  const std::string text = imatrix.datasets.empty() ? "" : imatrix.datasets.front();
  number(int32_t(text.size()));
  return out + text;
}

// ---- the GGUF form: NAME.in_sum2 f32 [cols, slices] and NAME.counts f32 [1, slices]

Result<std::vector<float>> floats_of(const gguf::TensorInfo& tensor) {
  if (tensor.dtype != DType::f32) {
    return bad(concat(printable(tensor.name), ": expected f32, found ", dtype_name(tensor.dtype)));
  }
  std::vector<float> numbers(tensor.bytes.size() / sizeof(float));
  std::memcpy(numbers.data(), tensor.bytes.data(), tensor.bytes.size());
  LM_TRY(check_numbers(tensor.name, numbers));
  return numbers;
}

Result<Imatrix> from_gguf(const gguf::File& file) {
  Imatrix imatrix;
  for (const gguf::TensorInfo& tensor : file.tensors()) {
    if (!tensor.name.ends_with(kSums)) continue;
    const std::string name(tensor.name.substr(0, tensor.name.size() - kSums.size()));
    const gguf::TensorInfo* counts = file.tensor(name + std::string(kCounts));
    if (counts == nullptr) return bad(concat(printable(name), ": expected counts, found none"));
    ImatrixEntry entry{LM_TRY(floats_of(tensor)), LM_TRY(floats_of(*counts))};
    const size_t slices = entry.counts.size();
    const auto cols = size_t(tensor.dims[0]);
    if (entry.mean_squares.size() != slices * cols) {
      return bad(concat(printable(name), ": expected ", slices, " times ", cols, " sums, found ",
                        entry.mean_squares.size()));
    }
    for (size_t i = 0; i < entry.mean_squares.size(); ++i) {
      const float count = entry.counts[i / cols];
      if (count > 0) entry.mean_squares[i] /= count;
    }
    imatrix.entries.emplace(name, std::move(entry));
  }
  if (imatrix.entries.empty()) {
    return bad("expected tensors named like blk.0.attn_q.weight.in_sum2, found none");
  }
  if (file.value(kDatasetsKey) != nullptr) {
    for (const std::string_view text : LM_TRY(file.strs(kDatasetsKey)))
      imatrix.datasets.emplace_back(text);
  }
  imatrix.n_chunks = LM_TRY(file.u32_or(kChunkCountKey, 0));
  imatrix.chunk_tokens = LM_TRY(file.u32_or(kChunkSizeKey, 0));
  return imatrix;
}

Status write_gguf(const Imatrix& imatrix, const std::filesystem::path& path) {
  gguf::Writer writer;
  writer.set_str("general.type", "imatrix");
  writer.set_strs(kDatasetsKey, imatrix.datasets);
  writer.set_u32(kChunkCountKey, imatrix.n_chunks);
  writer.set_u32(kChunkSizeKey, imatrix.chunk_tokens);
  std::vector<std::vector<float>> data;
  for (const auto& [name, entry] : imatrix.entries) {
    const auto slices = int64_t(entry.counts.size());
    const auto cols = int64_t(entry.mean_squares.size()) / slices;
    LM_TRY(writer.add_tensor(name + std::string(kSums), DType::f32, std::vector{cols, slices}));
    LM_TRY(writer.add_tensor(name + std::string(kCounts), DType::f32,
                             std::vector{int64_t{1}, slices}));
    std::vector<float> sums = entry.mean_squares;
    for (size_t i = 0; i < sums.size(); ++i) sums[i] *= entry.counts[i / size_t(cols)];
    data.push_back(std::move(sums));
    data.push_back(entry.counts);
  }
  return writer.write(path, [&](size_t i, const gguf::Writer::Sink& sink) {
    return sink(std::as_bytes(std::span(data[i])));
  });
}

}  // namespace

std::span<const float> ImatrixEntry::slice(size_t i) const {
  if (i >= counts.size() || !(counts[i] > 0)) return {};
  const size_t cols = mean_squares.size() / counts.size();
  return std::span(mean_squares).subspan(i * cols, cols);
}

const ImatrixEntry* Imatrix::find(std::string_view name) const {
  const auto at = entries.find(name);
  return at == entries.end() ? nullptr : &at->second;
}

Result<Imatrix> parse_imatrix(std::string_view bytes) {
  if (!bytes.starts_with("GGUF")) return parse_dat(bytes);
  return from_gguf(LM_TRY(gguf::File::parse(std::as_bytes(std::span(bytes)))));
}

Result<Imatrix> read_imatrix(const std::filesystem::path& path) {
  const std::string bytes = LM_TRY(read_file(path, kMaxFileBytes));
  Result<Imatrix> imatrix = parse_imatrix(bytes);
  if (imatrix.ok()) return imatrix;
  return std::move(imatrix).error().within(printable(path.native(), 1000));
}

Status write_imatrix(const Imatrix& imatrix, const std::filesystem::path& path) {
  if (path.extension() != ".dat") return write_gguf(imatrix, path);
  FileWriter file = LM_TRY(FileWriter::create(path));
  LM_TRY(file.write(dat_bytes(imatrix)));
  return file.commit();
}

}  // namespace lm
