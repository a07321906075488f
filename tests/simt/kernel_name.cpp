#include "tests/simt/kernel_name.h"

#include <cxxabi.h>
#include <elf.h>
#include <link.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

namespace simt {
namespace {

std::string demangle(const char* symbol) {
  int status = 0;
  char* const readable = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
  std::string name = status == 0 ? readable : symbol;
  std::free(readable);
  return name;
}

// Where the executable was loaded, less where it was linked to be.
uintptr_t load_offset() {
  uintptr_t offset = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* out) {
        *static_cast<uintptr_t*>(out) = info->dlpi_addr;  // the first is the executable
        return 1;
      },
      &offset);
  return offset;
}

}  // namespace

std::string kernel_name(const void* address) {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  const std::vector<char> elf{std::istreambuf_iterator<char>(file), {}};
  const auto read = [&](auto& out, uint64_t at) {
    if (at + sizeof out > elf.size()) return false;
    std::memcpy(&out, elf.data() + at, sizeof out);
    return true;
  };
  Elf64_Ehdr header;
  if (!read(header, 0) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return "?";
  const uint64_t wanted = reinterpret_cast<uintptr_t>(address) - load_offset();
  for (int s = 0; s < header.e_shnum; ++s) {
    Elf64_Shdr table, strings;
    if (!read(table, header.e_shoff + uint64_t(s) * sizeof table)) return "?";
    if (table.sh_type != SHT_SYMTAB) continue;
    if (!read(strings, header.e_shoff + table.sh_link * sizeof strings)) return "?";
    for (uint64_t at = 0; at < table.sh_size; at += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      if (!read(symbol, table.sh_offset + at)) return "?";
      const uint64_t name = strings.sh_offset + symbol.st_name;
      if (symbol.st_value == wanted && ELF64_ST_TYPE(symbol.st_info) == STT_FUNC &&
          name < elf.size()) {
        return demangle(elf.data() + name);
      }
    }
  }
  return "?";
}

}  // namespace simt
