#include "engine/cli/build_facts.h"

#include <build_commit.h>  // written by scripts/write_commit.cmake

#include "engine/core/text.h"

namespace lm::cli {

std::string_view version() {
  return LLM_VERSION;
}

std::string_view commit_date() {
  return LLM_COMMIT_DATE;
}

std::string build_facts() {
  const std::string_view sanitizers = LLM_SANITIZERS;
  return concat("llm ", version(), "\ncommit    ", LLM_COMMIT, "\ncompiler  ", LLM_COMPILER,
                "\nbuild     ", LLM_BUILD_TYPE, sanitizers.empty() ? "" : ", ", sanitizers,
                "\nmachine   ", LLM_MACHINE, "\ncpu       ", LLM_ISAS, "\ncuda      ", LLM_CUDA,
                "\n");
}

}  // namespace lm::cli
