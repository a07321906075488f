#include "engine/cli/batch_line.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "engine/cli/options.h"
#include "engine/cli/sampling_options.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

constexpr size_t kMaxCompiled = 16;

Error expected(std::string_view what, const Json& found) {
  return Error{ErrorCode::bad_request,
               concat("expected ", what, ", found ", printable(dump_json(found), 60))};
}

Result<int64_t> integer(std::string_view name, const Json& value, int64_t least, int64_t most) {
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() ||
                     value.get<uint64_t>() <= uint64_t(std::numeric_limits<int64_t>::max()));
  if (fits && value.get<int64_t>() >= least && value.get<int64_t>() <= most) {
    return value.get<int64_t>();
  }
  return expected(concat("\"", name, "\" to be a whole number from ", least, " to ", most), value);
}

// "top-k" is the option, "top_k" the field.
std::string option_name(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name == "temperature" ? "temp" : name;
}

Status take_sampling(const std::string& name, const Json& value, SamplingParams& sampling) {
  if (!value.is_number()) return expected(concat("\"", name, "\" to be a number"), value);
  const Status set = set_sampling(sampling, option_name(name), dump_json(value));
  return set.ok() ? ok() : Status(Error(set.error()).within(concat("\"", name, "\"")));
}

// A text, or a list of them.
Status take_stop(const Json& value, std::vector<std::string>& stop) {
  const Json list = value.is_array() ? value : Json::array({value});
  stop.clear();
  for (const Json& text : list) {
    if (!text.is_string() || text.get_ref<const std::string&>().empty()) {
      return expected("\"stop\" to be a text that is not empty, or a list of them", text);
    }
    stop.push_back(text.get<std::string>());
  }
  return ok();
}

// {"15": -2.5}
Status take_biases(const Json& value, SamplingParams& sampling) {
  if (!value.is_object()) return expected("\"logit_bias\" to be an object", value);
  for (const auto& [id, bias] : value.items()) {
    const Result<int64_t> token = integer_in(id, 0, std::numeric_limits<TokenId>::max());
    if (!token.ok()) return Error(token.error()).within("\"logit_bias\"");
    if (!bias.is_number()) return expected("a number in \"logit_bias\"", bias);
    sampling.logit_bias.emplace_back(TokenId(token.value()), bias.get<float>());
  }
  return ok();
}

Status check_message(const Json& message, bool text_only) {
  if (!message.is_object() || !message.contains("role") || !message["role"].is_string()) {
    return expected("a message to be an object with a \"role\"", message);
  }
  const bool has_text = message.contains("content") && message["content"].is_string();
  if (text_only && !has_text) return expected("a message with its \"content\", a text", message);
  const bool other = message.contains("content") && !message["content"].is_null() &&
                     !message["content"].is_array();
  if (!has_text && other) return expected("\"content\" to be a text", message);
  return ok();
}

bool begins_with_system(const Json& messages) {
  if (messages.empty()) return false;
  const Json& role = messages.front()["role"];
  return role == "system" || role == "developer";
}

}  // namespace

BatchLineParser::BatchLineParser(Terms usual, std::optional<std::string> system, bool text_only)
    : usual_(std::move(usual)), system_(std::move(system)), text_only_(text_only) {}

Result<BatchLine> BatchLineParser::parse(std::string_view text, uint64_t number, Json& id) {
  Json object;
  {
    Result<Json> json = parse_json(text);
    if (!json.ok()) return Error{ErrorCode::bad_request, std::move(json).error().message};
    object = std::move(json).value();
  }
  if (object.is_string()) object = Json{{"prompt", std::move(object)}};
  if (!object.is_object()) return expected("a JSON object or a text on every line", object);
  if (object.contains("id")) {
    if (!object["id"].is_string() && !object["id"].is_number()) {
      return expected("\"id\" to be a text or a number", object["id"]);
    }
    id = object["id"];
  }
  BatchLine line{.id = id, .terms = usual_};
  line.terms.sampling.seed += number - 1;
  for (const auto& [name, value] : object.items()) LM_TRY(take_field(name, value, line));
  LM_TRY(take_messages(object, line));
  LM_TRY(validate(line.terms.sampling));
  return line;
}

Status BatchLineParser::take_field(const std::string& name, const Json& value, BatchLine& line) {
  Terms& terms = line.terms;
  if (name == "id" || name == "prompt" || name == "messages" || name == "system") return ok();
  if (name == "max_tokens") {
    terms.max_tokens = int(LM_TRY(integer(name, value, -1, std::numeric_limits<int>::max())));
    return ok();
  }
  if (name == "seed") {
    terms.sampling.seed =
        uint64_t(LM_TRY(integer(name, value, 0, std::numeric_limits<int64_t>::max())));
    return ok();
  }
  if (name == "stop") return take_stop(value, terms.stop);
  if (name == "logit_bias") return take_biases(value, terms.sampling);
  if (name == "json_schema" || name == "grammar") return take_form(name, value, terms);
  if (name == "tools") {
    if (!value.is_array()) return expected("\"tools\" to be a list", value);
    if (text_only_) return expected("a model with a chat template for \"tools\"", value);
    terms.tools = value;
    return ok();
  }
  if (sampling_value(terms.sampling, option_name(name))) {
    return take_sampling(name, value, terms.sampling);
  }
  return Error{ErrorCode::bad_request,
               concat("expected a field of prompt, messages, system, id, max_tokens, seed, stop, "
                      "json_schema, grammar, tools, logit_bias or a sampling option (temperature, "
                      "top_p, ...), found \"",
                      printable(name, 60), "\"")};
}

Status BatchLineParser::take_form(const std::string& name, const Json& value, Terms& terms) {
  const bool is_schema = name == "json_schema";
  if (is_schema ? !value.is_object() && !value.is_boolean() : !value.is_string()) {
    return expected(concat("\"", name, "\" to be ", is_schema ? "a JSON schema" : "a text in GBNF"),
                    value);
  }
  if (terms.grammar != usual_.grammar) {
    return Error{ErrorCode::bad_request, "expected either json_schema or grammar, found both"};
  }
  if (terms.ignore_end) {
    return Error{ErrorCode::bad_request,
                 concat("expected no ", name, " with --ignore-eos: such an answer has an end")};
  }
  terms.grammar =
      LM_TRY(compile(name, is_schema ? dump_json(value) : value.get_ref<const std::string&>()));
  return ok();
}

Result<std::shared_ptr<const AnswerGrammar>> BatchLineParser::compile(const std::string& name,
                                                                      const std::string& text) {
  const std::string key = concat(name, " ", text);
  const auto known = std::find_if(compiled_.begin(), compiled_.end(),
                                  [&](const auto& entry) { return entry.first == key; });
  if (known != compiled_.end()) return known->second;
  Result<AnswerGrammar> made = name == "json_schema" ? AnswerGrammar::from_json_schema(text)
                                                     : AnswerGrammar::from_gbnf(text);
  if (!made.ok()) return std::move(made).error().within(concat("\"", name, "\""));
  if (compiled_.size() >= kMaxCompiled) compiled_.erase(compiled_.begin());
  compiled_.emplace_back(key, std::make_shared<const AnswerGrammar>(std::move(made).value()));
  return compiled_.back().second;
}

Status BatchLineParser::take_messages(const Json& object, BatchLine& line) const {
  if (object.contains("prompt") == object.contains("messages")) {
    return Error{ErrorCode::bad_request,
                 concat("expected either \"prompt\" or \"messages\", found ",
                        object.contains("prompt") ? "both" : "none")};
  }
  if (object.contains("messages")) {
    const Json& messages = object["messages"];
    if (!messages.is_array() || messages.empty()) {
      return expected("\"messages\" to be a list that is not empty", messages);
    }
    for (const Json& message : messages) LM_TRY(check_message(message, text_only_));
    line.messages = messages;
  } else {
    if (!object["prompt"].is_string()) return expected("\"prompt\" to be a text", object["prompt"]);
    line.messages.push_back(Json{{"role", "user"}, {"content", object["prompt"]}});
  }
  const bool has_own = object.contains("system");
  if (has_own && !object["system"].is_string()) {
    return expected("\"system\" to be a text", object["system"]);
  }
  if (begins_with_system(line.messages)) {
    if (!has_own) return ok();
    return Error{ErrorCode::bad_request,
                 "expected one system prompt, found \"system\" and a message with that role"};
  }
  if (!has_own && !system_) return ok();
  const Json text = has_own ? object["system"] : Json(*system_);
  line.messages.insert(line.messages.begin(), Json{{"role", "system"}, {"content", text}});
  return ok();
}

}  // namespace lm::cli
