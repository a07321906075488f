// --json and --jsonl field by field: every field has its type, and there are no others.
#include <map>

#include "tests/cli/process.h"

namespace lm::test {
namespace {

enum class Type { text, count, number, list, flag };
struct Field {
  Type type;
  bool always;
};
using Form = std::map<std::string, Field>;

const Form kEnd{
    {"finish", {Type::text, true}},
    {"error", {Type::text, false}},
    {"tool_calls", {Type::list, false}},
    {"prompt_tokens", {Type::count, true}},
    {"cached_tokens", {Type::count, true}},
    {"dropped_tokens", {Type::count, true}},
    {"generated_tokens", {Type::count, true}},
    {"drafted_tokens", {Type::count, true}},
    {"accepted_tokens", {Type::count, true}},
    {"seed", {Type::count, true}},
    {"model", {Type::text, true}},
    {"load_seconds", {Type::number, true}},
    {"queue_seconds", {Type::number, true}},
    {"prompt_seconds", {Type::number, true}},
    {"first_token_seconds", {Type::number, true}},
    {"generate_seconds", {Type::number, true}},
    {"seconds_per_token", {Type::number, true}},
    {"read_gbps", {Type::number, true}},
};

Form with(Form form, const Form& more) {
  form.insert(more.begin(), more.end());
  return form;
}

const Form kAnswer = with(kEnd, {{"text", {Type::text, true}}, {"reasoning", {Type::text, false}}});
const Form kStartEvent{{"event", {Type::text, true}},
                       {"model", {Type::text, true}},
                       {"seed", {Type::count, true}},
                       {"prompt_tokens", {Type::count, true}}};
// The last one may have no id: it brings text that was held back.
const Form kTokenEvent{{"event", {Type::text, true}},      {"text", {Type::text, true}},
                       {"reasoning", {Type::text, false}}, {"id", {Type::count, false}},
                       {"logprob", {Type::number, false}}, {"drafted", {Type::flag, false}}};
const Form kEndEvent = with(kEnd, {{"event", {Type::text, true}}});

bool has_type(const Json& value, Type type) {
  switch (type) {
    case Type::text:
      return value.is_string();
    case Type::count:
      return value.is_number_unsigned();
    case Type::number:
      return value.is_number();
    case Type::list:
      return value.is_array();
    case Type::flag:
      return value.is_boolean();
  }
  return false;
}

void check_form(const Json& object, const Form& form) {
  REQUIRE(object.is_object());
  for (const auto& [name, value] : object.items()) {
    INFO(name);
    REQUIRE(form.count(name) == 1);
    CHECK(has_type(value, form.at(name).type));
  }
  for (const auto& [name, field] : form) {
    INFO(name);
    CHECK((!field.always || object.contains(name)));
  }
}

std::vector<std::vector<std::string>> questions() {
  return {{"-p", "One day", "-n", "20"},
          {"-p", "One day", "-n", "0"},
          {"-p", "", "-n", "5", "--temp", "0"},
          {"-p", "x", "--ctx", "40"},
          {"-p", "x", "--ctx", "40", "--overflow", "shift", "-n", "100", "-q"},
          {"-p", "a b a b a b a b", "-n", "30", "--temp", "0"},
          {"-p", "x", "-n", "9", "--draft", "off", "--stop", "e"}};
}

TEST_CASE("json: every field of the answer, and no other") {
  for (std::vector<std::string> args : questions()) {
    args.insert(args.end(), {"-m", tiny_model_path(), "--ignore-eos", "--json", "--seed", "3"});
    const Finished run = run_llm(std::move(args));
    CHECK(run.status == 0);
    const std::vector<Json> objects = json_lines(run.out);
    REQUIRE(objects.size() == 1);
    check_form(objects[0], kAnswer);
    CHECK(objects[0]["seed"] == 3);
    const std::string finish = objects[0]["finish"];
    CHECK((finish == "stop" || finish == "length"));
    CHECK(objects[0]["accepted_tokens"].get<int>() <= objects[0]["drafted_tokens"].get<int>());
  }
}

TEST_CASE("jsonl: every field of every event, and no other; together they are --json") {
  for (std::vector<std::string> args : questions()) {
    args.insert(args.end(), {"-m", tiny_model_path(), "--ignore-eos", "--seed", "3"});
    std::vector<std::string> whole = args;
    whole.emplace_back("--json");
    args.emplace_back("--jsonl");
    const Json answer = json_lines(run_llm(std::move(whole)).out).at(0);
    const Finished run = run_llm(std::move(args));
    CHECK(run.status == 0);
    const std::vector<Json> events = json_lines(run.out);
    REQUIRE(events.size() >= 2);
    check_form(events.front(), kStartEvent);
    CHECK(events.front()["event"] == "start");
    check_form(events.back(), kEndEvent);
    CHECK(events.back()["event"] == "end");
    std::string text;
    int n_tokens = 0;
    for (size_t i = 1; i + 1 < events.size(); ++i) {
      check_form(events[i], kTokenEvent);
      CHECK(events[i]["event"] == "token");
      CHECK(events[i].contains("id") == events[i].contains("logprob"));
      text += events[i]["text"].get<std::string>();
      n_tokens += events[i].contains("id") ? 1 : 0;
    }
    CHECK(text == answer["text"]);
    CHECK(n_tokens == answer["generated_tokens"]);
    for (const char* same :
         {"finish", "prompt_tokens", "generated_tokens", "dropped_tokens", "seed", "model"}) {
      CHECK(events.back()[same] == answer[same]);
    }
  }
}

}  // namespace
}  // namespace lm::test
