// write_tiny_model OUT.gguf [architecture] — a seeded random model that the whole program can run.
#include <cstdio>
#include <string_view>

#include "tests/reference/tiny_model.h"

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: write_tiny_model OUT.gguf [architecture]\n");
    return 2;
  }
  const std::string_view architecture = argc == 3 ? argv[2] : "llama";
  for (const lm::test::TinyModel& model : lm::test::tiny_models()) {
    if (model.architecture != architecture) continue;
    const lm::Status status = lm::test::write_tiny_model(model).save(argv[1]);
    if (status.ok()) return 0;
    std::fprintf(stderr, "write_tiny_model: %s\n", status.error().message.c_str());
    return 1;
  }
  std::fprintf(stderr, "write_tiny_model: no tiny model of architecture %s\n", argv[2]);
  return 2;
}
