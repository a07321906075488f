// tests/simt/kernel_name.h — the name of a function of this program, read from the symbol table of
// its own executable (ELF, System V ABI chapter 4); "?" where there is none.
#pragma once
#include <cstdint>
#include <string>

namespace simt {

std::string kernel_name(const void* address);
// Where the executable was loaded, less where it was linked to be.
uintptr_t load_offset();

}  // namespace simt
