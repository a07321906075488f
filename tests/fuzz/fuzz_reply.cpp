// Takes any bytes apart as a model's reply: the first says in which format, the second how the rest
// is cut. In pieces and as a whole it must come out the same.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/core/check.h"
#include "engine/text/reply_parser.h"

namespace {

std::string parse(const lm::ReplyFormat& format, std::string_view text, size_t piece) {
  lm::Reply reply;
  lm::ReplyParser parser(format, [&](const lm::ReplyEvent& event) { reply.take(event); });
  for (; !text.empty(); text.remove_prefix(std::min(piece, text.size()))) {
    parser.push(text.substr(0, piece));
  }
  parser.finish();
  std::string all = reply.reasoning + '\0' + reply.content;
  for (const lm::ToolCall& call : reply.calls) {
    all += '\0' + call.id + '\0' + call.name + '\0' + call.arguments + (call.complete ? '1' : '0');
    LM_CHECK(!lm::closed_json(call.arguments).empty());
  }
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  lm::ReplyFormat format;
  format.tools = lm::ToolSyntax(data[0] % 5);
  format.channels = (data[0] & 0x40) != 0;
  if (format.channels) format.header = "assistant";
  if ((data[0] & 0x20) != 0) format.reasoning_end = "</think>";
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  LM_CHECK(parse(format, text, 1 + data[1] % 16) == parse(format, text, text.size() + 1));
  return 0;
}
