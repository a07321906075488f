// What is said of a race: who, what, where in memory and where in the source.
#include <unistd.h>

#include <array>
#include <cstdio>
#include <string_view>
#include <vector>

#include "tests/simt/device.h"
#include "tests/simt/kernel_name.h"
#include "tests/simt/races/races.h"

extern "C" const char __executable_start;  // the linker's

namespace simt {
namespace {

template <class... Values>
std::string print(const char* format, Values... values) {
  std::array<char, 200> text;
  std::snprintf(text.data(), text.size(), format, values...);
  return text.data();
}

uint3 split(uint64_t at, dim3 n) {
  return {unsigned(at) % n.x, unsigned(at) / n.x % n.y, unsigned(at) / (n.x * n.y)};
}

std::string name_of(const char* what, uint3 i) {
  return print("%s (%u,%u,%u)", what, i.x, i.y, i.z);
}

std::string place_of(uintptr_t at, bool shared) {
  if (shared) {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(running.shared);
    return print("shared memory at offset %zu", size_t(at - begin));
  }
  const Memory& memory = device().memory;
  const void* const begin = memory.begin_of(reinterpret_cast<const void*>(at));
  if (begin == nullptr) return print("memory at %#zx", size_t(at));
  const size_t bytes = memory.holder(begin, 1)->bytes;
  return print("global memory at offset %zu of %zu bytes", at - reinterpret_cast<uintptr_t>(begin),
               bytes);
}

const char* verb_of(Access access) {
  return access == Access::read ? "reads" : access == Access::write ? "writes" : "changes (atomic)";
}
const char* past_of(const Record& record) {
  if (record.pending) return record.access == Access::read ? "still reads" : "still copies to";
  return record.access == Access::read    ? "has read"
         : record.access == Access::write ? "has written"
                                          : "has changed (atomic)";
}

// The last part of a line's path, without what addr2line says behind the number.
std::string shortened(std::string_view line) {
  line = line.substr(0, line.find_first_of(" \n"));
  return std::string(line.substr(line.rfind('/') + 1));
}

bool is_of_emulation(std::string_view line) {
  return line.find("tests/simt/") != line.npos && line.find("_test.cpp") == line.npos;
}

}  // namespace

uint32_t code_of(const void* code) {
  return uint32_t(reinterpret_cast<uintptr_t>(code) -
                  reinterpret_cast<uintptr_t>(&__executable_start));
}

// Asks addr2line (of binutils, as the linker is), one line for each function that was inlined into
// the next; where there is none, the address.
std::string source_of(uint32_t code) {
  const uintptr_t call = reinterpret_cast<uintptr_t>(&__executable_start) + code - 1;
  const std::string address = print("%#zx", size_t(call - load_offset()));
  std::array<char, 4096> program;
  const ssize_t length = readlink("/proc/self/exe", program.data(), program.size());
  if (length <= 0) return address;
  const std::string_view path(program.data(), size_t(length));
  const std::string command = "addr2line -i -e '" + std::string(path) + "' " + address;
  FILE* const output = popen((command + " 2>/dev/null").c_str(), "r");
  if (output == nullptr) return address;
  std::string inner, outer;
  for (std::array<char, 1024> line; std::fgets(line.data(), line.size(), output) != nullptr;) {
    if (line[0] == '?' || is_of_emulation(line.data())) continue;
    (inner.empty() ? inner : outer) = shortened(line.data());
  }
  pclose(output);
  if (inner.empty()) return address;
  return outer.empty() ? inner : inner + " in " + outer;
}

std::string Races::describe(const Record& theirs, const Record& mine, const Piece& piece) const {
  const unsigned actor = theirs.when.actor, n_threads = n_threads_.x * n_threads_.y * n_threads_.z;
  const std::string who = actor < n_threads ? name_of("thread", split(actor, n_threads_))
                          : actor < n_threads + (n_threads + 31) / 32
                              ? print("a product of warp %u", actor - n_threads)
                              : "a bulk copy";
  const bool same_block = theirs.when.block == mine.when.block;
  std::string text = std::string("race: ") + verb_of(mine.access) +
                     print(" %u bytes of ", piece.bytes) + place_of(piece.at, piece.shared) +
                     " at " + source_of(mine.code) + ", which " + who;
  if (!same_block) text += " of " + name_of("block", split(theirs.when.block, n_blocks_));
  text += std::string(" ") + past_of(theirs) + " at " + source_of(theirs.code);
  if (theirs.pending) return text + "; nobody has waited for that";
  if (!same_block) return text + "; no fence and atomic operation order the two blocks";
  if (barrier_.file == nullptr) return text + "; no barrier of the block before";
  return text + print("; both behind the barrier at %s:%d", file_name(barrier_), barrier_.line);
}

// The stack of who failed is given up: the words are kept here.
void Races::report(const Record& theirs, const Record& mine, const Piece& piece) {
  message_ = describe(theirs, mine, piece);
  fail_with(message_.c_str());
}

}  // namespace simt
