#include "tests/simt/kernel_name.h"

#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

namespace simt {
namespace {

std::string demangle(const char* symbol) {
  int status = 0;
  char* const readable = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
  std::string name = status == 0 ? readable : symbol;
  std::free(readable);
  return name;
}

// `n` things of type T at a place of the file, or none if the file ends before.
template <class T>
std::span<const T> things(std::span<const char> file, uint64_t at, uint64_t n) {
  if (at > file.size() || n > (file.size() - at) / sizeof(T)) return {};
  return {reinterpret_cast<const T*>(file.data() + at), n};
}

// The symbol's name in `elf`, or nullptr.
const char* find_function(std::span<const char> elf, uint64_t value) {
  const auto header = things<Elf64_Ehdr>(elf, 0, 1);
  if (header.empty() || std::memcmp(header[0].e_ident, ELFMAG, SELFMAG) != 0) return nullptr;
  const auto sections = things<Elf64_Shdr>(elf, header[0].e_shoff, header[0].e_shnum);
  for (const Elf64_Shdr& table : sections) {
    if (table.sh_type != SHT_SYMTAB || table.sh_link >= sections.size()) continue;
    const Elf64_Shdr& strings = sections[table.sh_link];
    const auto names = things<char>(elf, strings.sh_offset, strings.sh_size);
    const uint64_t n = table.sh_size / sizeof(Elf64_Sym);
    for (const Elf64_Sym& symbol : things<Elf64_Sym>(elf, table.sh_offset, n)) {
      const bool is_function = ELF64_ST_TYPE(symbol.st_info) == STT_FUNC;
      if (is_function && symbol.st_value == value && symbol.st_name < names.size()) {
        return &names[symbol.st_name];
      }
    }
  }
  return nullptr;
}

}  // namespace

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

std::string kernel_name(const void* address) {
  const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  struct stat facts = {};
  if (file < 0 || fstat(file, &facts) != 0) return "?";
  const size_t bytes = size_t(facts.st_size);
  void* const memory = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file, 0);
  close(file);
  if (memory == MAP_FAILED) return "?";
  const std::span<const char> elf(static_cast<const char*>(memory), bytes);
  const char* const symbol =
      find_function(elf, reinterpret_cast<uintptr_t>(address) - load_offset());
  std::string name = symbol != nullptr ? demangle(symbol) : "?";
  munmap(memory, bytes);
  return name;
}

}  // namespace simt
