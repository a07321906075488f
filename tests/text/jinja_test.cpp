// The template language, a rule at a time, and its limits. Expectations are Jinja2's.
#include <string>
#include <string_view>

#include "engine/core/json.h"
#include "engine/text/chat_template.h"
#include "tests/support/support.h"

namespace lm::test {
namespace {

Result<RenderedPrompt> try_render(std::string_view source, std::string_view variables = "{}") {
  const ChatTemplate chat = LM_TRY(ChatTemplate::compile(source));
  ChatInput input;
  input.variables = require_ok(parse_json(variables));
  input.now = require_ok(Result<CalendarTime>(*CalendarTime::parse("2026-01-05 15:04:09")));
  return chat.render(input);
}

std::string render(std::string_view source, std::string_view variables = "{}") {
  return require_ok(try_render(source, variables)).text;
}

std::string error(std::string_view source, std::string_view variables = "{}") {
  const Result<RenderedPrompt> result = try_render(source, variables);
  REQUIRE(!result.ok());
  return result.error().message;
}

TEST_CASE("jinja: whitespace control") {
  CHECK(render("a\n  {% if true %}\nb\n  {% endif %}\nc\n") == "a\nb\nc");
  CHECK(render("a {%- if true -%} b {%- endif %} c") == "ab c");
  CHECK(render("  {%+ if true %}x{% endif %}") == "  x");
  CHECK(render("a {#- gone -#} b") == "ab");
  CHECK(render("{% raw %}{{ x }}{% endraw %}") == "{{ x }}");
  CHECK(render("{{ 1 }}\n{{ 2 }}") == "1\n2");
}

TEST_CASE("jinja: expressions") {
  CHECK(render("{{ -2**2 }} {{ 2**3**2 }} {{ 7//-2 }} {{ -7%3 }} {{ 1/2 }}") == "4 64 -4 2 0.5");
  CHECK(render("{{ 'a' ~ 1 ~ none }} {{ 'ab' * 2 }} {{ [1] + [2] }}") == "a1None abab [1, 2]");
  CHECK(render("{{ not 1 in [2] }} {{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }}") == "True True False");
  CHECK(render("{{ 'y' if false }}|{{ 'y' if 0 else 'n' }}") == "|n");
  CHECK(render("{{ 'a\\'b' }} {{ ['x', \"it's\", true, 1.0, 1e20] }}") ==
        "a'b ['x', \"it's\", True, 1.0, 1e+20]");
  CHECK(render("{{ 'h\u00e9llo'[1] }} {{ 'hello'[-3:] }} {{ 'abc'[::-1] }}") == "\u00e9 llo cba");
  CHECK(render("{{ '%s=%05.1f' % ('x', 2.25) }} {{ '{}-{b}'.format(1, b=2) }}") == "x=002.2 1-2");
  CHECK(render("{{ x is defined }} {{ x }} {{ x is none }} {{ 4 is divisibleby 2 }}") ==
        "False  False True");
}

TEST_CASE("jinja: statements and scopes") {
  CHECK(
      render("{% set x = 1 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}") ==
      "231");
  CHECK(
      render("{% set n = namespace(x=0) %}{% for i in [1, 2] %}{% set n.x = n.x + i %}{% endfor %}"
             "{{ n.x }}") == "3");
  CHECK(render("{% for i in range(9) if i % 2 %}{% if i == 7 %}{% break %}{% endif %}"
               "{{ loop.index }}:{{ i }}{{ ',' if not loop.last }}{% endfor %}") == "1:1,2:3,3:5,");
  CHECK(render("{% for i in [] %}x{% else %}none{% endfor %}") == "none");
  CHECK(render("{% macro m(a, b=2) %}{{ a }}{{ b }}{{ caller() if caller }}{% endmacro %}"
               "{{ m(1) }} {{ m(b=3, a=4) }} {% call m(5) %}!{% endcall %}") == "12 43 52!");
  CHECK(render("{% set t %}a{{ 1 }}{% endset %}{{ t }}{% filter upper %}b{% endfilter %}") ==
        "a1B");
  CHECK(render("{% for x in t recursive %}{{ x.n }}{{ loop(x.c) if x.c }}{% endfor %}",
               R"({"t": [{"n": 1, "c": [{"n": 2}]}, {"n": 3}]})") == "123");
  CHECK(render("{% generation %}{% with a = 1 %}{{ a }}{% endwith %}{% endgeneration %}") == "1");
}

TEST_CASE("jinja: filters and methods") {
  CHECK(
      render("{{ d|tojson }} {{ d|tojson(indent=1) }}",
             R"({"d": {"b": [1, "é\n<"], "a": null}})") ==
      "{\"b\": [1, \"é\\n<\"], \"a\": null} {\n \"b\": [\n  1,\n  \"é\\n<\"\n ],\n \"a\": null\n}");
  CHECK(render("{{ l|map(attribute='n')|join('+') }} {{ l|selectattr('n', 'gt', 1)|list|length }}",
               R"({"l": [{"n": 1}, {"n": 2}]})") == "1+2 1");
  CHECK(render("{{ d|dictsort }} {{ [3, 1, 2]|sort|reverse|list }} {{ [1, 2]|sum }}",
               R"({"d": {"b": 1, "A": 2}})") == "[('A', 2), ('b', 1)] [3, 2, 1] 3");
  CHECK(render("{{ ' x '|trim }}|{{ 'a b'|title }}|{{ 'xyx'.strip('x') }}|{{ 'a,b,c'.split(',', 1) "
               "}}") == "x|A B|y|['a', 'b,c']");
  CHECK(render("{{ u|default('d') }} {{ ''|default('e', true) }} {{ 'a\nb'|indent(2) }}") ==
        "d e a\n  b");
  CHECK(render("{{ strftime_now('%Y-%m-%d %I:%M %p %A %j') }}") ==
        "2026-01-05 03:04 PM Monday 005");
}

TEST_CASE("jinja: mistakes name their line") {
  CHECK(error("a\n{{ 1 + }}").find("line 2") != std::string::npos);
  CHECK(error("a\n\n{{ x.y }}").find("line 3: \"x\" is undefined") != std::string::npos);
  CHECK(error("{% for %}").find("line 1") != std::string::npos);
  CHECK(error("{% if 1 %}").find("endif") != std::string::npos);
  CHECK(error("{{ 1 | nonsense }}").find("nonsense") != std::string::npos);
  CHECK(error("\n{{ raise_exception('no') }}").find("no") != std::string::npos);
  for (const char* source :
       {"{{", "{%", "{#", "{{ 'a }}", "{{ (1 }}", "{{ ] }}", "{% raw %}",
        "{{ 99999999999999999999 }}", "{{ 1 // 0 }}", "{{ 'a' + 1 }}", "{{ [1].append(2) }}",
        "{% break %}", "{{ 9223372036854775807 + 1 }}"}) {
    INFO(source);
    CHECK(!try_render(source).ok());
  }
}

TEST_CASE("jinja: what would not end is an error") {
  const std::string nested = "{% for a in range(1000) %}{% for b in range(100000) %}{{ a }}";
  for (const std::string& source :
       {std::string("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"),
        nested + "{% endfor %}{% endfor %}", std::string("{{ range(10**9) }}"),
        std::string("{% set n = namespace(s='xxxxxxxx') %}{% for i in range(60) %}"
                    "{% set n.s = n.s + n.s %}{% endfor %}"),
        std::string("{% set n = namespace(l=[]) %}{% for i in range(99999) %}"
                    "{% set n.l = [n.l] %}{% endfor %}"),
        std::string("{% set n = namespace(l=[1]) %}{% for i in range(99) %}"
                    "{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l }}"),
        std::string("{{ 'x' * 10**12 }}"), std::string("{{ 'x'.center(10**15) }}"),
        "{{ " + std::string(100'000, '(') + " }}", "{{ " + std::string(100'000, '-') + "1 }}",
        "{{ 1" + std::string(100'000, '+') + "1 }}"}) {
    INFO(source.substr(0, 60));
    CHECK(!try_render(source).ok());
  }
}

TEST_CASE("jinja: a rendering knows what came from the input") {
  const ChatTemplate chat = require_ok(ChatTemplate::compile(
      "<{{ messages[0].role }}>{{ (messages[0].content + '!')|trim|replace('a', 'bc') }}"));
  ChatInput input;
  input.messages.push_back(Json{{"role", "user"}, {"content", "  xay "}});
  const RenderedPrompt prompt = require_ok(chat.render(input));
  CHECK(prompt.text == "<user>xbcy !");
  CHECK(prompt.input == std::vector<TextRange>{{6, 7}, {9, 11}});
}

}  // namespace
}  // namespace lm::test
