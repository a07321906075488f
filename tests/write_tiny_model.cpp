// write_tiny_model OUT.gguf [architecture [type]] — a seeded random model that the whole program
// can run. With a type its matrices are of that type, and wide enough for it and for heads of 64.
#include <cstdio>
#include <optional>
#include <string_view>

#include "quant/encode.h"
#include "tests/reference/tiny_model.h"

namespace {

constexpr int kHeadDim = 64;  // as models have it: what devices have fast attention for

std::optional<lm::test::TinyModel> find_model(std::string_view architecture) {
  for (const lm::test::TinyModel& model : lm::test::tiny_models()) {
    if (model.architecture == architecture) return model;
  }
  return std::nullopt;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view architecture = argc >= 3 ? argv[2] : "llama";
  std::optional<lm::test::TinyModel> model = find_model(architecture);
  const std::optional<lm::DType> type =
      argc == 4 ? lm::dtype_from_name(argv[3]) : std::optional(lm::DType::f32);
  if (argc < 2 || argc > 4 || !model || !type || !lm::can_encode(*type)) {
    std::fprintf(stderr, "usage: write_tiny_model OUT.gguf [architecture [type]]\n");
    return 2;
  }
  if (argc == 4) {
    model = widened(*model, *type);
    model->head_dim = kHeadDim;
  }
  const lm::Status status = lm::test::write_tiny_model(*model).save(argv[1]);
  if (status.ok()) return 0;
  std::fprintf(stderr, "write_tiny_model: %s\n", status.error().message.c_str());
  return 1;
}
