// engine/tools/synthetic.cpp — gigabytes of weights in seconds: a megabyte of random blocks
// is made for each type, and every tensor is filled from them, beginning somewhere else each time.
#include "engine/tools/synthetic.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "engine/core/check.h"
#include "engine/core/text.h"
#include "quant/blocks.h"
#include "quant/decode.h"
#include "quant/encode.h"
#include "quant/half.h"

namespace lm {
namespace {

constexpr size_t kPatternBytes = size_t{1} << 20;

// splitmix64 (doi:10.1145/2714064.2660195)
class Noise {
 public:
  explicit Noise(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
  }
  // Mean 0, variance 1, within ±3.5: the sum of 12 uniform numbers.
  float normal() {
    double sum = -6;
    for (int i = 0; i < 3; ++i) {
      const uint64_t bits = next();
      for (int part = 0; part < 4; ++part) sum += double(bits >> 16 * part & 0xFFFF) / 65535;
    }
    return float(sum);
  }

 private:
  uint64_t state_;
};

// Where a block keeps its scale as a half, and its minimum, if it has one; and the minimum, in
// scales, that puts the mean of random numbers near 0.
struct ScaleFields {
  std::optional<size_t> d{}, min{};
  float min_in_d = 0;
};

ScaleFields scale_fields(DType type) {
  switch (type) {
    case DType::q4_0:
      return {offsetof(BlockQ4_0, d)};
    case DType::q4_1:
      return {offsetof(BlockQ4_1, d), offsetof(BlockQ4_1, m), -7.5f};
    case DType::q5_0:
      return {offsetof(BlockQ5_0, d)};
    case DType::q5_1:
      return {offsetof(BlockQ5_1, d), offsetof(BlockQ5_1, m), -15.5f};
    case DType::i4g32:
    case DType::i4g64:
    case DType::i4g128:
      return {offsetof(BlockI4G<32>, d)};  // z follows; see set_scales
    case DType::q8_0:
      return {offsetof(BlockQ8_0, d)};
    case DType::q2_K:
      return {offsetof(BlockQ2_K, d), offsetof(BlockQ2_K, dmin), 1.5f};
    case DType::q3_K:
      return {offsetof(BlockQ3_K, d)};
    case DType::q4_K:
      return {offsetof(BlockQ4_K, d), offsetof(BlockQ4_K, dmin), 7.5f};
    case DType::q5_K:
      return {offsetof(BlockQ5_K, d), offsetof(BlockQ5_K, dmin), 15.5f};
    case DType::q6_K:
      return {offsetof(BlockQ6_K, d)};
    case DType::iq1_S:
      return {offsetof(BlockIQ1_S, d)};
    case DType::iq2_XXS:
      return {offsetof(BlockIQ2_XXS, d)};
    case DType::iq2_XS:
      return {offsetof(BlockIQ2_XS, d)};
    case DType::iq2_S:
      return {offsetof(BlockIQ2_S, d)};
    case DType::iq3_XXS:
      return {offsetof(BlockIQ3_XXS, d)};
    case DType::iq3_S:
      return {offsetof(BlockIQ3_S, d)};
    case DType::iq4_NL:
      return {offsetof(BlockIQ4_NL, d)};
    case DType::iq4_XS:
      return {offsetof(BlockIQ4_XS, d)};
    case DType::tq1_0:
      return {offsetof(BlockTQ1_0, d)};
    case DType::tq2_0:
      return {offsetof(BlockTQ2_0, d)};
    default:
      return {};
  }
}

void set_scales(DType type, std::span<std::byte> blocks, float d) {
  const size_t stride = size_t(dtype_info(type).block_bytes);
  const ScaleFields fields = scale_fields(type);
  const uint16_t d_bits = f32_to_f16(d), min_bits = f32_to_f16(d * fields.min_in_d);
  for (size_t at = 0; at < blocks.size(); at += stride) {
    std::byte* block = blocks.data() + at;
    if (fields.d) std::memcpy(block + *fields.d, &d_bits, 2);
    if (fields.min) std::memcpy(block + *fields.min, &min_bits, 2);
    if (is_i4g(type)) block[offsetof(BlockI4G<32>, z)] = std::byte{8};
    if (type == DType::mxfp4) block[offsetof(BlockMXFP4, e)] = std::byte(127 + std::ilogb(d));
    if (type == DType::iq1_M) {  // the half lies in the top nibbles of four words
      for (size_t word = 0; word < 4; ++word) {
        std::byte& top = block[offsetof(BlockIQ1_M, scales) + 2 * word + 1];
        top = (top & std::byte{0x0F}) | std::byte((d_bits >> 4 * word & 0xF) << 4);
      }
    }
  }
}

double rms_of(DType type, std::span<const std::byte> blocks, size_t n_blocks) {
  const int64_t n = int64_t(n_blocks) * dtype_info(type).block_elems;
  std::vector<float> values(size_t(n), 0.0f);
  decode(type, blocks.data(), values.data(), n);
  double squares = 0;
  for (const float value : values) squares += double(value) * value;
  return std::sqrt(squares / double(n));
}

// One pattern for each type and size of numbers, made when it is first asked for.
class Patterns {
 public:
  explicit Patterns(uint64_t seed) : noise_(seed) {}

  // `bytes` of weights for rows of `cols` numbers.
  Status fill(DType type, int64_t cols, uint64_t bytes, const gguf::Writer::Sink& sink) {
    const size_t stride = size_t(dtype_info(type).block_bytes);
    const std::vector<std::byte>& pattern = get(type, cols);
    while (bytes > 0) {
      const size_t first = size_t(noise_.next() % (pattern.size() / stride)) * stride;
      const size_t n = size_t(std::min<uint64_t>(bytes, pattern.size() - first));
      LM_TRY(sink(std::span(pattern).subspan(first, n)));
      bytes -= n;
    }
    return ok();
  }

 private:
  const std::vector<std::byte>& get(DType type, int64_t cols) {
    // Products with normalised activations then have a variance of about 1.
    const int power = std::ilogb(double(std::max<int64_t>(cols, 1))) / 2;
    std::vector<std::byte>& pattern = patterns_[{type, power}];
    if (pattern.empty()) {
      const size_t n = kPatternBytes / size_t(dtype_info(type).block_bytes);
      pattern = random_blocks(type, n, std::ldexp(1.0, -power), noise_.next());
    }
    return pattern;
  }

  Noise noise_;
  std::map<std::pair<DType, int>, std::vector<std::byte>> patterns_;
};

// Norms are 1, and so are the divisors of rotary frequencies; biases and sinks are small noise.
Status fill_vector(const ShapeTensor& tensor, Noise& noise, const gguf::Writer::Sink& sink) {
  int64_t n = 1;
  for (const int64_t dim : tensor.dims) n *= dim;
  std::vector<float> values(size_t(n), 1.0f);
  if (tensor.name.ends_with(".bias") || tensor.name.find("sinks") != std::string::npos) {
    for (float& value : values) value = noise.normal() / 16;
  }
  return sink(std::as_bytes(std::span(values)));
}

Status write_synthetic(
    const SyntheticModel& model,
    const std::function<Status(const gguf::Writer&, const gguf::Writer::Fill&)>& write) {
  LM_CHECK(model.shape != nullptr);
  const std::vector<ShapeTensor> tensors = LM_TRY(make_tensors(*model.shape, model.recipe));
  gguf::Writer writer;
  set_metadata(*model.shape, model.recipe, writer);
  for (const ShapeTensor& tensor : tensors) {
    LM_TRY(writer.add_tensor(tensor.name, tensor.dtype, tensor.dims));
  }
  Noise noise(model.seed);
  Patterns patterns(noise.next());
  return write(writer, [&](size_t index, const gguf::Writer::Sink& sink) -> Status {
    const ShapeTensor& tensor = tensors[index];
    if (tensor.dims.size() == 1 || tensor.name.ends_with(".bias")) {
      return fill_vector(tensor, noise, sink);
    }
    uint64_t bytes = row_bytes(tensor.dtype, tensor.dims[0]);
    for (size_t i = 1; i < tensor.dims.size(); ++i) bytes *= uint64_t(tensor.dims[i]);
    return patterns.fill(tensor.dtype, tensor.dims[0], bytes, sink);
  });
}

}  // namespace

std::vector<std::byte> random_blocks(DType type, size_t n_blocks, double rms, uint64_t seed) {
  const DTypeInfo& info = dtype_info(type);
  Noise noise(seed);
  std::vector<std::byte> blocks(n_blocks * size_t(info.block_bytes));
  if (info.block_elems == 1) {  // f32, f16, bf16
    std::vector<float> values(n_blocks);
    for (float& value : values) value = noise.normal() * float(rms);
    encode(type, values, blocks.data());
    return blocks;
  }
  for (size_t at = 0; at < blocks.size(); at += 8) {
    const uint64_t bits = noise.next();
    std::memcpy(blocks.data() + at, &bits, std::min<size_t>(8, blocks.size() - at));
  }
  // How large the numbers are under a scale of 1 tells the scale that they need.
  constexpr size_t kSample = 256;
  set_scales(type, blocks, 1);
  const double unscaled = rms_of(type, blocks, std::min(n_blocks, kSample));
  if (unscaled > 0) set_scales(type, blocks, float(rms / unscaled));
  return blocks;
}

Status save_synthetic(const SyntheticModel& model, const std::filesystem::path& path) {
  return write_synthetic(model, [&](const gguf::Writer& writer, const gguf::Writer::Fill& fill) {
    return writer.write(path, fill);
  });
}

Result<MemoryFile> generate_synthetic(const SyntheticModel& model) {
  MemoryFile file = LM_TRY(MemoryFile::create());
  const gguf::Writer::Sink sink = [&](std::span<const std::byte> bytes) {
    return file.write(bytes);
  };
  LM_TRY(write_synthetic(model, [&](const gguf::Writer& writer, const gguf::Writer::Fill& fill) {
    return writer.stream(sink, fill);
  }));
  return file;
}

Result<MemoryFile> MemoryFile::create() {
  const int fd = memfd_create("llm-synthetic-model", MFD_CLOEXEC);
  if (fd >= 0) return MemoryFile(fd);
  return Error{ErrorCode::out_of_memory,
               concat("the system refused a file in memory: ", std::strerror(errno))};
}

MemoryFile::MemoryFile(MemoryFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

MemoryFile& MemoryFile::operator=(MemoryFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

MemoryFile::~MemoryFile() {
  if (fd_ >= 0) ::close(fd_);
}

Status MemoryFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      return Error{ErrorCode::out_of_memory,
                   concat("the system refused memory for the weights: ", std::strerror(errno))};
    }
    bytes = bytes.subspan(size_t(n));
  }
  return ok();
}

std::filesystem::path MemoryFile::path() const {
  return concat("/proc/self/fd/", fd_);
}

}  // namespace lm
