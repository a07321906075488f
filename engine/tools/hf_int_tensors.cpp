// A module's tensors as checked views.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/core/text.h"
#include "engine/tools/hf_quantization.h"
#include "quant/half.h"

namespace lm::hf {
namespace {

using safetensors::ElementType;
using Info = safetensors::TensorInfo;
using Shape = std::vector<int64_t>;

std::string shape_text(const Shape& shape) {
  std::string text = "[";
  for (const int64_t n : shape) text += concat(text.size() > 1 ? ", " : "", n);
  return text + "]";
}

Error bad(const std::string& name, std::string message) {
  return Error{ErrorCode::bad_file, concat(printable(name), ": ", message)};
}

// One module being bound.
struct Module {
  const Quantization& quantization;
  const std::string& stem;
  int64_t rows, cols;
  const UseTensor& use;
  QuantizationNotes& notes;
  IntMatrix m{};

  Result<const Info*> need(std::string_view suffix) const {
    const std::string name = concat(stem, suffix);
    const Info* info = use(name);
    if (info == nullptr) return bad(name, "expected this tensor, found none");
    return info;
  }
  Status expect(const Info& info, ElementType type, const Shape& shape) const {
    if (info.type == type && info.shape == shape) return ok();
    return bad(info.name,
               concat("expected ", element_type_name(type), " ", shape_text(shape), ", found ",
                      element_type_name(info.type), " ", shape_text(info.shape)));
  }

  Status set_bits(const Info& info, int64_t bits);
  Status set_groups(const Info& scales, int64_t n_groups);
  Status set_scales(const Info& info);
  Status set_scales_by_group();
  Status set_group_indices(const Info& info, bool minus_one_is_none);
  Status settle_gptq_zeros();

  Result<std::optional<IntMatrix>> gptq(const Info& qweight);
  Result<std::optional<IntMatrix>> awq_gemm(const Info& qweight);
  Result<std::optional<IntMatrix>> awq_gemv(const Info& qweight);
  Result<std::optional<IntMatrix>> packed(const Info& weight);
  Result<std::optional<IntMatrix>> bytes(const Info& weight);
  Status compressed_scales_and_zeros();
};

Status Module::set_bits(const Info& info, int64_t bits) {
  const int64_t promised = quantization.bits;
  if (bits < 2 || bits > 8 || (promised != 0 && bits != promised)) {
    return bad(info.name, concat("expected ", promised != 0 ? promised : 4, " bits for each of ",
                                 cols, " columns, found shape ", shape_text(info.shape)));
  }
  m.q.bits = int(bits);
  m.constant_zero = 1 << (bits - 1);
  return ok();
}

Status Module::set_scales(const Info& info) {
  m.scales = info.bytes.data();
  if (info.type == ElementType::f16) {
    m.scale_type = DType::f16;
  } else if (info.type == ElementType::bf16) {
    m.scale_type = DType::bf16;
  } else if (info.type == ElementType::f32) {
    m.scale_type = DType::f32;
  } else {
    return bad(info.name,
               concat("expected F16, BF16 or F32, found ", element_type_name(info.type)));
  }
  return ok();
}

// n_groups scales for a row: how many columns does each cover?
Status Module::set_groups(const Info& scales, int64_t n_groups) {
  const int64_t promised = quantization.group_size == -1 ? cols : quantization.group_size;
  const int64_t size = promised != 0  ? promised
                       : n_groups > 0 ? (cols + n_groups - 1) / n_groups
                                      : 0;
  if (size <= 0 || (cols + size - 1) / size != n_groups) {
    return bad(scales.name,
               concat("expected ", promised == 0 ? 1 : (cols + promised - 1) / promised,
                      " groups for ", cols, " columns, found ", n_groups));
  }
  m.group_size = size;
  m.n_groups = n_groups;
  return ok();
}

// A row of scales for every group of columns.
Status Module::set_scales_by_group() {
  const Info& scales = *LM_TRY(need(".scales"));
  LM_TRY(set_scales(scales));
  LM_TRY(set_groups(scales, scales.shape.empty() ? 0 : scales.shape[0]));
  LM_TRY(expect(scales, scales.type, {m.n_groups, rows}));
  m.scale_row_step = 1;
  m.scale_group_step = rows;
  return ok();
}

Status Module::set_group_indices(const Info& info, bool minus_one_is_none) {
  LM_TRY(expect(info, ElementType::i32, {cols}));
  std::vector<int32_t> groups(size_t(cols), 0);
  std::memcpy(groups.data(), info.bytes.data(), info.bytes.size());
  if (minus_one_is_none && std::ranges::all_of(groups, [](int32_t g) { return g == -1; }))
    return ok();
  bool trivial = true;
  for (size_t k = 0; k < groups.size(); ++k) {
    if (groups[k] < 0 || groups[k] >= m.n_groups) {
      return bad(info.name, concat("expected groups from 0 to ", m.n_groups - 1, ", found ",
                                   groups[k], " at ", k));
    }
    trivial = trivial && groups[k] == int64_t(k) / m.group_size;
  }
  if (!trivial) m.group_of = std::make_shared<const std::vector<int32_t>>(std::move(groups));
  return ok();
}

// True when all zero-points are `value`.
bool all_zeros_are(const IntMatrix& m, int value) {
  for (int64_t g = 0; g < m.n_groups; ++g) {
    for (int64_t n = 0; n < m.rows; ++n) {
      if (m.zero(n, g) != value) return false;
    }
  }
  return true;
}

// Where every zero-point is the middle, as "sym" promises, it is one constant. Some writers mark
// files of the second format as the first.
Status Module::settle_gptq_zeros() {
  const int middle = 1 << (m.bits() - 1);
  IntMatrix as_second = m;
  as_second.zeros.minus_one = false;
  if (!all_zeros_are(m, middle)) {
    const bool second = m.zeros.minus_one && all_zeros_are(as_second, middle);
    if (quantization.symmetric && !second) {
      return bad(concat(stem, ".qzeros"), concat("expected the zero-point ", middle,
                                                 " everywhere, as \"sym\" promises, found others"));
    }
    if (!second) {
      bool ambiguous = false;
      const int ones = (1 << m.bits()) - 1;
      for (int64_t g = 0; m.zeros.minus_one && g < m.n_groups; ++g) {
        for (int64_t n = 0; n < rows; ++n) ambiguous = ambiguous || as_second.zero(n, g) == ones;
      }
      notes.ambiguous_zeros += ambiguous ? 1 : 0;
      return ok();
    }
    ++notes.zeros_of_second_format;
  }
  m.zeros = {};
  m.constant_zero = middle;
  return ok();
}

Result<std::optional<IntMatrix>> Module::gptq(const Info& qweight) {
  const bool whole = qweight.shape.size() == 2 && cols % 32 == 0 && qweight.shape[1] == rows &&
                     qweight.shape[0] % (cols / 32) == 0;
  if (!whole || qweight.type != ElementType::i32) {
    return bad(qweight.name,
               concat("expected I32 [", cols, " / 32 · bits, ", rows, "], found ",
                      element_type_name(qweight.type), " ", shape_text(qweight.shape)));
  }
  LM_TRY(set_bits(qweight, qweight.shape[0] / (cols / 32)));
  if (m.q.bits > 4 && m.q.bits != 8) {
    return Error{ErrorCode::unsupported,
                 concat(printable(qweight.name), ": expected 2, 3, 4 or 8 bits, found ", m.q.bits)};
  }
  m.q.data = qweight.bytes.data();
  m.q.stream_step = 1;
  m.q.word_step = rows;
  LM_TRY(set_scales_by_group());
  const Info& zeros = *LM_TRY(need(".qzeros"));
  if (rows * m.q.bits % 32 != 0) {
    return bad(zeros.name, concat("expected rows that fill words of 32 bits, found ", rows));
  }
  LM_TRY(expect(zeros, ElementType::i32, {m.n_groups, rows * m.q.bits / 32}));
  m.zeros = {.data = zeros.bytes.data(),
             .bits = m.q.bits,
             .stream_step = rows * m.q.bits / 32,
             .minus_one = quantization.zeros_minus_one};
  LM_TRY(settle_gptq_zeros());
  const Info* order = use(stem + ".g_idx");
  if (order != nullptr) LM_TRY(set_group_indices(*order, false));
  return std::optional(m);
}

Result<std::optional<IntMatrix>> Module::awq_gemm(const Info& qweight) {
  if (rows % 8 != 0) {
    return bad(qweight.name, concat("expected a multiple of 8 outputs, found ", rows));
  }
  LM_TRY(expect(qweight, ElementType::i32, {cols, rows / 8}));
  LM_TRY(set_bits(qweight, 4));
  m.q.data = qweight.bytes.data();
  m.q.stream_step = rows / 8;
  m.q.awq_order = true;
  m.q_along_cols = false;
  LM_TRY(set_scales_by_group());
  const Info& zeros = *LM_TRY(need(".qzeros"));
  LM_TRY(expect(zeros, ElementType::i32, {m.n_groups, rows / 8}));
  m.zeros = {.data = zeros.bytes.data(), .bits = 4, .stream_step = rows / 8, .awq_order = true};
  return std::optional(m);
}

Result<std::optional<IntMatrix>> Module::awq_gemv(const Info& qweight) {
  if (cols % 8 != 0) {
    return bad(qweight.name, concat("expected a multiple of 8 inputs, found ", cols));
  }
  LM_TRY(expect(qweight, ElementType::i32, {rows, cols / 8}));
  LM_TRY(set_bits(qweight, 4));
  m.q.data = qweight.bytes.data();
  m.q.stream_step = cols / 8;
  const int64_t size = quantization.group_size == -1 ? cols : quantization.group_size;
  m.group_size = size;
  m.n_groups = (cols + size - 1) / size;
  // Rows are padded to whole words of zero-points, more of them for small groups.
  const Info& zeros = *LM_TRY(need(".qzeros"));
  const int64_t words = zeros.shape.size() == 2 ? zeros.shape[1] : 0;
  if (words < packed_words(m.n_groups, 4) || words > cols) {
    return bad(zeros.name, concat("expected at least ", packed_words(m.n_groups, 4),
                                  " words a row, found shape ", shape_text(zeros.shape)));
  }
  LM_TRY(expect(zeros, ElementType::i32, {rows, words}));
  const Info& scales = *LM_TRY(need(".scales"));
  LM_TRY(set_scales(scales));
  LM_TRY(expect(scales, scales.type, {rows, words * 8}));
  m.scale_row_step = words * 8;
  m.scale_group_step = 1;
  m.zeros = {.data = zeros.bytes.data(), .bits = 4, .stream_step = words};
  m.zeros_along_groups = true;
  return std::optional(m);
}

Status Module::compressed_scales_and_zeros() {
  const Info& scales = *LM_TRY(need(".weight_scale"));
  LM_TRY(set_scales(scales));
  const Shape& s = scales.shape;
  const bool whole = s.empty() || s == Shape{1};  // one scale for all
  if (whole) {
    LM_TRY(set_groups(scales, 1));
  } else {
    LM_TRY(set_groups(scales, s.size() == 1 ? 1 : s[1]));
    if (s.size() != 1) LM_TRY(expect(scales, scales.type, {rows, m.n_groups}));
    if (s.size() == 1) LM_TRY(expect(scales, scales.type, {rows}));
    m.scale_row_step = m.n_groups;
    m.scale_group_step = 1;
  }
  const Info* zeros = use(stem + ".weight_zero_point");
  if (zeros == nullptr && quantization.zeros_promised) {
    LM_TRY(need(".weight_zero_point"));
  }
  if (zeros != nullptr && zeros->type == ElementType::i8) {
    LM_TRY(expect(*zeros, ElementType::i8, {rows, m.n_groups}));
    m.zeros = {.data = zeros->bytes.data(), .bits = 8, .stream_step = m.n_groups, .is_i8 = true};
    m.zeros_along_groups = true;
  } else if (zeros != nullptr) {
    LM_TRY(expect(*zeros, ElementType::i32, {packed_words(rows, m.q.bits), m.n_groups}));
    m.zeros = {
        .data = zeros->bytes.data(), .bits = m.q.bits, .stream_step = 1, .word_step = m.n_groups};
  }
  const Info* order = use(stem + ".weight_g_idx");
  if (order != nullptr) LM_TRY(set_group_indices(*order, true));
  return ok();
}

Result<std::optional<IntMatrix>> Module::packed(const Info& weight) {
  const int64_t words = weight.shape.size() == 2 ? weight.shape[1] : 0;
  // The word count tells the bits of a row of 32 or more columns.
  const int64_t bits = quantization.bits != 0      ? quantization.bits
                       : cols > 0 && words <= cols ? words * 32 / cols
                                                   : 0;
  if (bits >= 1) LM_TRY(expect(weight, ElementType::i32, {rows, packed_words(cols, int(bits))}));
  LM_TRY(set_bits(weight, bits));
  m.q.data = weight.bytes.data();
  m.q.stream_step = words;
  const Info* shape = use(stem + ".weight_shape");
  if (shape != nullptr) {
    int64_t stored[2] = {0, 0};
    const bool wide = shape->type == ElementType::i64;
    if (!wide) LM_TRY(expect(*shape, ElementType::i32, {2}));
    if (wide) LM_TRY(expect(*shape, ElementType::i64, {2}));
    for (int i = 0; i < 2; ++i)
      std::memcpy(&stored[i], shape->bytes.data() + (wide ? 8 : 4) * i, wide ? 8 : 4);
    if (stored[0] != rows || stored[1] != cols) {
      return bad(shape->name,
                 concat("expected ", rows, " × ", cols, ", found ", stored[0], " × ", stored[1]));
    }
  }
  LM_TRY(compressed_scales_and_zeros());
  return std::optional(m);
}

Result<std::optional<IntMatrix>> Module::bytes(const Info& weight) {
  LM_TRY(expect(weight, ElementType::i8, {rows, cols}));
  LM_TRY(set_bits(weight, 8));
  m.q.data = weight.bytes.data();
  m.q.stream_step = cols;
  m.q.is_i8 = true;
  LM_TRY(compressed_scales_and_zeros());
  return std::optional(m);
}

float fp8_number(uint8_t bits, bool e5m2) {
  if (e5m2) return f16_to_f32(uint16_t(bits << 8));
  if ((bits & 0x7f) == 0x7f) return std::nanf("");
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  const float magnitude = exponent == 0 ? std::ldexp(float(mantissa), -9)
                                        : std::ldexp(float(8 + mantissa), exponent - 10);
  return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

float scale_at(const Fp8Matrix& m, int64_t at) {
  if (m.scale_type == DType::f32) {
    float value;
    std::memcpy(&value, m.scales + 4 * at, sizeof value);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, m.scales + 2 * at, sizeof half);
  return m.scale_type == DType::f16 ? f16_to_f32(half) : bf16_to_f32(half);
}

}  // namespace

void Fp8Matrix::numbers(int64_t row, float* out) const {
  for (int64_t k = 0; k < cols; ++k) {
    const float scale = scale_at(*this, row / block_rows * scale_cols + k / block_cols);
    out[k] = fp8_number(uint8_t(data[row * cols + k]), e5m2) * scale;
  }
}

float Fp8Matrix::greatest_scale() const {
  const int64_t n = (rows + block_rows - 1) / block_rows * scale_cols;
  float greatest = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float magnitude = std::fabs(scale_at(*this, i));
    if (!(magnitude <= greatest)) greatest = magnitude;
  }
  return greatest;
}

Result<std::optional<IntMatrix>> bind_int_matrix(const Quantization& quantization,
                                                 const std::string& stem, int64_t rows,
                                                 int64_t cols, const UseTensor& use,
                                                 QuantizationNotes& notes) {
  using Layout = Quantization::Layout;
  if (quantization.layout == Layout::none || quantization.layout == Layout::fp8)
    return std::optional<IntMatrix>();
  Module module{quantization, stem, rows, cols, use, notes};
  module.m.rows = rows;
  module.m.cols = cols;
  if (quantization.layout == Layout::compressed) {
    const Info* packed = use(stem + ".weight_packed");
    if (packed != nullptr) return module.packed(*packed);
    const Info* weight = use(stem + ".weight");
    if (weight != nullptr && weight->type == ElementType::i8) return module.bytes(*weight);
    return std::optional<IntMatrix>();
  }
  const Info* qweight = use(stem + ".qweight");
  if (qweight == nullptr) return std::optional<IntMatrix>();
  switch (quantization.layout) {
    case Layout::gptq:
      return module.gptq(*qweight);
    case Layout::awq_gemm:
      return module.awq_gemm(*qweight);
    default:
      return module.awq_gemv(*qweight);
  }
}

Result<Fp8Matrix> bind_fp8_matrix(const Quantization& quantization, const std::string& stem,
                                  const Info& weight, const UseTensor& use) {
  Fp8Matrix m{.data = weight.bytes.data(), .e5m2 = weight.type == ElementType::f8_e5m2};
  m.rows = weight.shape[0];
  m.cols = weight.shape[1];
  const Info* blocks = use(stem + ".weight_scale_inv");
  const Info* scales = blocks != nullptr ? blocks : use(stem + ".weight_scale");
  if (scales == nullptr) {
    return bad(concat(stem, ".weight_scale"),
               "expected this tensor beside 8-bit floats, found none");
  }
  const Shape one_row{m.rows};
  m.block_rows = m.rows, m.block_cols = m.cols;
  Shape expected = scales->shape;
  if (scales->shape.size() == 2 && scales->shape != Shape{1, 1}) {
    const bool per_row = scales->shape == Shape{m.rows, 1} && quantization.block_rows != 1;
    m.block_rows = per_row ? 1 : quantization.block_rows;
    m.block_cols = per_row ? m.cols : quantization.block_cols;
    if (m.block_rows <= 0 || m.block_cols <= 0) m.block_rows = m.block_cols = 128;
    m.scale_cols = (m.cols + m.block_cols - 1) / m.block_cols;
    expected = {(m.rows + m.block_rows - 1) / m.block_rows, m.scale_cols};
  } else if (scales->shape == one_row && m.rows != 1) {
    m.block_rows = 1;
  } else if (!scales->shape.empty() && scales->shape != Shape{1} && scales->shape != Shape{1, 1}) {
    expected = {1};
  }
  const bool f32 = scales->type == ElementType::f32, bf16 = scales->type == ElementType::bf16;
  if (scales->shape != expected || !(f32 || bf16 || scales->type == ElementType::f16)) {
    return bad(scales->name,
               concat("expected scales ", shape_text(expected), " in F32, BF16 or F16, found ",
                      element_type_name(scales->type), " ", shape_text(scales->shape)));
  }
  m.scales = scales->bytes.data();
  m.scale_type = f32 ? DType::f32 : bf16 ? DType::bf16 : DType::f16;
  return m;
}

}  // namespace lm::hf
