// Compiles any bytes as a JSON schema; what its grammar then writes at random must parse.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/check.h"
#include "engine/core/json.h"
#include "engine/grammar/automaton.h"
#include "engine/grammar/config_table.h"
#include "engine/grammar/json_schema.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lm::grammar;
  const auto parsed =
      parse_json_schema(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!parsed.ok()) return 0;
  const auto automaton = Automaton::compile(parsed.value());
  if (!automaton.ok()) return 0;
  ConfigTable table(automaton.value());
  ConfigId config = table.enter({automaton.value().start(), ConfigTable::kBottom});
  std::string text;
  for (size_t step = 0; step < 200 && !table.ends(config); ++step) {
    std::vector<uint8_t> bytes;
    for (int byte = 0; byte < 256; ++byte) {
      if (table.step(config, uint8_t(byte)) != ConfigTable::kDead) bytes.push_back(uint8_t(byte));
    }
    if (table.overflowed()) return 0;
    LM_CHECK(!bytes.empty());
    const uint8_t byte = bytes[(step * 37 + data[step % size]) % bytes.size()];
    text.push_back(char(byte));
    config = table.step(config, byte);
  }
  if (table.ends(config)) LM_CHECK(lm::parse_json(text).ok());
  return 0;
}
