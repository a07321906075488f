// engine/cli/build_facts.h — what this executable was made of. CMake says it (LLM_... definitions
// of build_facts.cpp alone, so that a new commit compiles one file).
#pragma once
#include <string>
#include <string_view>

namespace lm::cli {

std::string_view version();      // "0.1.0"
std::string_view commit_date();  // "2026-01-31"; empty when unknown

// What --version prints.
std::string build_facts();

}  // namespace lm::cli
