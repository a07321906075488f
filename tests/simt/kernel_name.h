// tests/simt/kernel_name.h — the name of a function of this program, read from the symbol table of
// its own executable (ELF, System V ABI chapter 4); "?" where there is none.
#pragma once
#include <string>

namespace simt {

std::string kernel_name(const void* address);

}  // namespace simt
