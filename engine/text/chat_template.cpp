#include "engine/text/chat_template.h"

#include <algorithm>
#include <utility>

#include "engine/core/text.h"
#include "engine/text/jinja/interpreter.h"
#include "engine/text/jinja/parser.h"

namespace lm {
namespace {

using jinja::Meter;
using jinja::Text;
using jinja::Value;

constexpr size_t kMaxSourceBytes = 256 << 10;  // the longest known template has 20 KiB
constexpr uint64_t kMaxSteps = 20'000'000;     // about a second
constexpr uint64_t kMaxBytes = 32 << 20;       // made by the template, beside what follows
constexpr uint64_t kBytesPerInputByte = 32;    // how often a template may copy what it is given

// A role names what speaks, and templates build control tokens of it ("<|" + role + "|>"); so it
// counts as the template's own where it is a plain word.
bool is_plain_word(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    const char lower = char(c | 0x20);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

Result<Value> to_value(Meter& meter, const Json& json, int depth);

Result<Value> object_to_value(Meter& meter, const Json& json, int depth) {
  std::vector<std::pair<Value, Value>> entries;  // JSON's keys differ already
  for (const auto& [key, item] : json.items()) {
    LM_TRY(meter.memory(key.size()));
    const bool is_role =
        key == "role" && item.is_string() && is_plain_word(item.get_ref<const std::string&>());
    Value value = is_role ? Value::text(item.get_ref<const std::string&>())
                          : LM_TRY(to_value(meter, item, depth + 1));
    entries.emplace_back(Value::text(key, Text::Origin::input), std::move(value));
  }
  return make_dict(meter, std::move(entries));
}

Result<Value> to_value(Meter& meter, const Json& json, int depth) {
  LM_TRY(meter.step());
  if (depth > jinja::kMaxNesting) {
    return Error{ErrorCode::bad_request, "expected messages that are nested less deeply"};
  }
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case Json::value_t::number_integer:
      return Value::integer(json.get<int64_t>());
    case Json::value_t::number_unsigned: {
      const auto number = json.get<uint64_t>();
      if (number > uint64_t(INT64_MAX)) return Value::real(double(number));
      return Value::integer(int64_t(number));
    }
    case Json::value_t::number_float:
      return Value::real(json.get<double>());
    case Json::value_t::string: {
      const auto& text = json.get_ref<const std::string&>();
      LM_TRY(meter.memory(text.size()));
      return Value::text(text, Text::Origin::input);
    }
    case Json::value_t::array: {
      std::vector<Value> items;
      for (const Json& item : json) items.push_back(LM_TRY(to_value(meter, item, depth + 1)));
      return make_list(meter, std::move(items));
    }
    case Json::value_t::object:
      return object_to_value(meter, json, depth);
    default:
      return Value::none();
  }
}

// Bytes of text in it, about.
uint64_t size_of(const Json& json, int depth) {
  if (json.is_string()) return json.get_ref<const std::string&>().size();
  uint64_t size = 16;
  if (json.is_structured() && depth < jinja::kMaxNesting) {
    for (const auto& [key, item] : json.items()) size += key.size() + size_of(item, depth + 1);
  }
  return size;
}

}  // namespace

struct ChatTemplate::Program {
  jinja::Block block;
  std::string source;
};

const std::string& ChatTemplate::source() const {
  return program_->source;
}

Result<ChatTemplate> ChatTemplate::compile(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    return Error{ErrorCode::bad_file, concat("expected a chat template of at most ",
                                             kMaxSourceBytes, " bytes, found ", source.size())};
  }
  Result<jinja::Block> block = jinja::parse(source);
  if (!block.ok()) return std::move(block).error().within("chat template");
  ChatTemplate result;
  result.program_ =
      std::make_shared<const Program>(Program{std::move(block).value(), std::string(source)});
  return result;
}

Result<RenderedPrompt> ChatTemplate::render(const ChatInput& input) const {
  const uint64_t given =
      size_of(input.messages, 0) + size_of(input.tools, 0) + size_of(input.variables, 0);
  Meter meter(kMaxSteps + given, kMaxBytes + kBytesPerInputByte * given);
  std::vector<std::pair<std::string, Value>> variables;
  variables.emplace_back("messages", LM_TRY(to_value(meter, input.messages, 0)));
  if (!input.tools.is_null()) {  // else undefined: what the reference renderings had
    variables.emplace_back("tools", LM_TRY(to_value(meter, input.tools, 0)));
  }
  variables.emplace_back("add_generation_prompt", Value::boolean(input.add_generation_prompt));
  variables.emplace_back("bos_token", Value::text(input.bos_token));
  variables.emplace_back("eos_token", Value::text(input.eos_token));
  for (const auto& [name, value] : input.variables.items()) {
    variables.emplace_back(name, LM_TRY(to_value(meter, value, 0)));
  }
  Result<Text> text = jinja::render(program_->block, std::move(variables), input.now, meter);
  if (!text.ok()) return std::move(text).error().within("chat template");
  auto [bytes, ranges] = std::move(text).value().take();
  return RenderedPrompt{std::move(bytes), std::move(ranges)};
}

}  // namespace lm
