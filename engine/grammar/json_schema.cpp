#include "engine/grammar/json_schema.h"

#include <algorithm>
#include <map>
#include <utility>

#include "engine/core/text.h"
#include "engine/grammar/limits.h"
#include "engine/grammar/schema_document.h"
#include "engine/grammar/schema_overlap.h"
#include "engine/grammar/schema_values.h"

namespace lm::grammar {
namespace {

constexpr uint32_t kMaxIndent = 16;
constexpr char32_t kLastChar = 0x10FFFF;

// Parts of JSON that every schema shares; rules made when first asked for.
class JsonRules {
 public:
  explicit JsonRules(Grammar& g) : g_(g) {}

  ExprId space() {  // inside brackets and after commas
    return shared(kSpace, "space", [&] {
      const ExprId indent = g_.repeat(g_.text(" "), 0, kMaxIndent);
      return g_.choice({g_.empty(), g_.text(" "), g_.sequence({g_.text("\n"), indent})});
    });
  }
  ExprId comma() { return g_.sequence({g_.text(","), space()}); }
  ExprId colon() { return g_.sequence({g_.text(":"), g_.optional(g_.text(" "))}); }

  ExprId any_string() {
    return shared(kAnyString, "string", [&] {
      const auto one_of = [&](std::vector<CharRange> ranges) {
        return g_.chars(CharSet(std::move(ranges)));
      };
      const auto hex = [&] { return one_of({{'0', '9'}, {'a', 'f'}, {'A', 'F'}}); };
      // \uXXXX: characters below and above the surrogates, and pairs of these.
      const ExprId low =
          g_.sequence({one_of({{'0', '9'}, {'a', 'c'}, {'A', 'C'}, {'e', 'f'}, {'E', 'F'}}), hex(),
                       hex(), hex()});
      const ExprId d =
          g_.sequence({one_of({{'d', 'd'}, {'D', 'D'}}), one_of({{'0', '7'}}), hex(), hex()});
      const ExprId pair = g_.sequence({one_of({{'d', 'd'}, {'D', 'D'}}),
                                       one_of({{'8', '9'}, {'a', 'b'}, {'A', 'B'}}), hex(), hex(),
                                       g_.text("\\u"), one_of({{'d', 'd'}, {'D', 'D'}}),
                                       one_of({{'c', 'f'}, {'C', 'F'}}), hex(), hex()});
      const ExprId unicode = g_.sequence({g_.text("u"), g_.choice({low, d, pair})});
      const ExprId letter = one_of({{'"', '"'},
                                    {'\\', '\\'},
                                    {'/', '/'},
                                    {'b', 'b'},
                                    {'f', 'f'},
                                    {'n', 'n'},
                                    {'r', 'r'},
                                    {'t', 't'}});
      const ExprId escape = g_.sequence({g_.text("\\"), g_.choice({letter, unicode})});
      const ExprId plain = one_of({{' ', '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, kLastChar}});
      return g_.sequence(
          {g_.text("\""), g_.repeat(g_.choice({plain, escape}), 0, kUnbounded), g_.text("\"")});
    });
  }

  ExprId any_integer() {
    return shared(kAnyInteger, "integer", [&] {
      return g_.sequence({g_.optional(g_.text("-")), whole_digits()});
    });
  }

  ExprId any_number() {
    return shared(kAnyNumber, "number", [&] {
      const ExprId fraction = g_.sequence({g_.text("."), g_.repeat(digit(), 1, 15)});
      const ExprId exponent = g_.sequence({g_.chars(CharSet({{'e', 'e'}, {'E', 'E'}})),
                                           g_.optional(g_.chars(CharSet({{'+', '+'}, {'-', '-'}}))),
                                           g_.repeat(digit(), 1, 2)});
      return g_.sequence({g_.optional(g_.text("-")), whole_digits(), g_.optional(fraction),
                          g_.optional(exponent)});
    });
  }

 private:
  enum Name { kSpace, kAnyString, kAnyInteger, kAnyNumber };

  ExprId digit() { return g_.chars(CharSet({{'0', '9'}})); }
  ExprId whole_digits() {
    const ExprId first = g_.chars(CharSet({{'1', '9'}}));
    return g_.choice({g_.text("0"), g_.sequence({first, g_.repeat(digit(), 0, 14)})});
  }

  template <class Make>
  ExprId shared(Name name, const char* title, Make make) {
    const auto known = rules_.find(name);
    if (known != rules_.end()) return g_.rule(known->second);
    const RuleId rule = g_.add_rule(title);
    rules_.emplace(name, rule);
    g_.define(rule, make());
    return g_.rule(rule);
  }

  Grammar& g_;
  std::map<Name, RuleId> rules_;
};

// A set of schemas that must all hold becomes one rule, however it was reached: recursion by $ref
// comes back to a rule that is there already.
class Compiler {
 public:
  explicit Compiler(const SchemaDocument& document) : document_(document), json_(g_) {}

  Result<Grammar> run() {
    (void)value({{&document_.root()}});
    while (next_ < queue_.size()) {
      const auto [rule, parts] = queue_[next_++];
      g_.define(rule, LM_TRY(body(parts)));
      LM_TRY(g_.check_size());
    }
    return std::move(g_);
  }

 private:
  ExprId value(const Parts& parts) {
    Parts key = parts;  // the same schemas in another order are the same rule
    std::sort(key.begin(), key.end());
    key.erase(std::unique(key.begin(), key.end()), key.end());
    const auto [entry, added] = rules_.try_emplace(std::move(key), RuleId(g_.rules().size()));
    if (added) queue_.emplace_back(g_.add_rule("value"), parts);
    return g_.rule(entry->second);
  }

  Result<ExprId> body(const Parts& parts) {
    const Resolved resolved = LM_TRY(document_.resolve(parts));
    if (resolved.nothing) return g_.nothing();
    for (const Part& part : resolved.parts) {
      if (!part.any_of_done && part.schema->contains("anyOf")) {
        return alternatives(resolved.parts, part, "anyOf");
      }
      if (!part.one_of_done && part.schema->contains("oneOf")) {
        LM_TRY(check_distinct(resolved.parts, part));
        return alternatives(resolved.parts, part, "oneOf");
      }
    }
    for (const Part& part : resolved.parts) {
      const Json* constant = keyword(*part.schema, "const");
      if (constant != nullptr) return listed(Json::array({*constant}), resolved.parts);
    }
    for (const Part& part : resolved.parts) {
      const Json* list = keyword(*part.schema, "enum");
      if (list != nullptr) return listed(*list, resolved.parts);
    }
    return by_type(resolved.parts);
  }

  static Parts with_member(Parts parts, const Part& owner, std::string_view name,
                           const Json& member) {
    Part& marked = *std::find(parts.begin(), parts.end(), owner);
    (name == "anyOf" ? marked.any_of_done : marked.one_of_done) = true;
    parts.push_back({&member});
    return parts;
  }

  Result<ExprId> alternatives(const Parts& parts, const Part& owner, std::string_view name) {
    std::vector<ExprId> choices;
    for (const Json& member : *keyword(*owner.schema, name)) {
      choices.push_back(value(with_member(parts, owner, name, member)));
      LM_TRY(g_.check_size());
    }
    return g_.choice(choices);
  }

  Status check_distinct(const Parts& parts, const Part& owner) const {
    constexpr size_t kMaxMembers = 100;
    const Json& members = *keyword(*owner.schema, "oneOf");
    if (members.size() > kMaxMembers) {
      return document_.error(ErrorCode::unsupported, *owner.schema,
                             concat("expected at most ", kMaxMembers, " members of oneOf"));
    }
    for (size_t i = 0; i < members.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        const Parts a = with_member(parts, owner, "oneOf", members[i]);
        const Parts b = with_member(parts, owner, "oneOf", members[j]);
        if (!LM_TRY(may_overlap(document_, a, b))) continue;
        return document_.error(
            ErrorCode::unsupported, *owner.schema,
            concat("expected members of oneOf that no value satisfies two of, found ", j, " and ",
                   i, " that may overlap (anyOf allows that)"));
      }
    }
    return ok();
  }

  Result<ExprId> listed(const Json& values, const Parts& parts) {
    std::vector<ExprId> choices;
    for (const Json& v : values) {
      if (LM_TRY(satisfies(document_, parts, v))) choices.push_back(g_.text(dump_json(v)));
    }
    return g_.choice(choices);
  }

  Result<ExprId> by_type(const Parts& parts) {
    const unsigned types = meant_types(parts);
    std::vector<ExprId> choices;
    if ((types & kObject) != 0) choices.push_back(LM_TRY(object(parts)));
    if ((types & kArray) != 0) choices.push_back(LM_TRY(array(parts)));
    if ((types & kString) != 0) choices.push_back(LM_TRY(string(parts)));
    if ((types & (kNumber | kInteger)) != 0) {
      choices.push_back(LM_TRY(number(parts, (types & kNumber) == 0)));
    }
    if ((types & kBoolean) != 0) {
      choices.push_back(g_.choice({g_.text("true"), g_.text("false")}));
    }
    if ((types & kNull) != 0) choices.push_back(g_.text("null"));
    return g_.choice(choices);
  }

  Result<ExprId> string(const Parts& parts) {
    std::optional<Dfa> values = LM_TRY(string_values(document_, parts));
    return values ? g_.json_string(std::move(*values)) : json_.any_string();
  }

  Result<ExprId> number(const Parts& parts, bool integer) {
    std::optional<Dfa> values = LM_TRY(number_values(document_, parts, integer));
    if (values) return g_.regular(std::move(*values));
    return integer ? json_.any_integer() : json_.any_number();
  }

  // [ item, item ... ]: items up to `least` must come, each later one only after the one before.
  Result<ExprId> array(const Parts& parts) {
    const size_t least = tightest_count(parts, "minItems", 0);
    const size_t most = tightest_count(parts, "maxItems", kUnbounded);
    if (least > most) return g_.nothing();
    if (least > kMaxRepeat || (most != kUnbounded && most > kMaxRepeat)) {
      return document_.error(ErrorCode::unsupported, *parts[0].schema,
                             concat("expected arrays of at most ", kMaxRepeat, " items"));
    }
    size_t n_prefix = 0;
    for (const Part& part : parts) {
      const Json* prefix = keyword(*part.schema, "prefixItems");
      if (prefix != nullptr) n_prefix = std::max(n_prefix, prefix->size());
    }
    n_prefix = std::min(n_prefix, most);
    const ExprId rest_item = g_.sequence({json_.comma(), value(item_parts(parts, n_prefix))});
    const auto rest_least = uint32_t(least - std::min(least, n_prefix));
    const uint32_t rest_most = most == kUnbounded ? kUnbounded : uint32_t(most - n_prefix);
    const ExprId open = g_.sequence({g_.text("["), json_.space()});
    const ExprId close = g_.sequence({json_.space(), g_.text("]")});
    ExprId items = 0;
    if (n_prefix == 0) {
      if (most == 0) return g_.sequence({open, g_.text("]")});
      const ExprId more = g_.repeat(rest_item, rest_least - std::min(rest_least, 1U),
                                    rest_most == kUnbounded ? kUnbounded : rest_most - 1);
      items = g_.sequence({value(item_parts(parts, 0)), more});
    } else {
      ExprId tail = g_.repeat(rest_item, rest_least, rest_most);
      for (size_t i = n_prefix; i-- > 0;) {
        const ExprId item = value(item_parts(parts, i));
        const ExprId with_tail =
            i == 0 ? g_.sequence({item, tail}) : g_.sequence({json_.comma(), item, tail});
        tail = as_rule(i >= least && i > 0 ? g_.optional(with_tail) : with_tail);
      }
      items = tail;
    }
    return g_.sequence({open, least == 0 ? g_.optional(items) : items, close});
  }

  // Keeps expressions from nesting as deep as a schema is long.
  ExprId as_rule(ExprId body) {
    const RuleId rule = g_.add_rule("rest");
    g_.define(rule, body);
    return g_.rule(rule);
  }

  struct Member {
    ExprId expr;  // "name": value
    bool required;
  };

  Result<ExprId> object(const Parts& parts) {
    const std::vector<std::string> required = required_names(parts);
    const std::vector<std::string> names = property_names(parts, required);
    if (names.size() > kMaxProperties) {
      return document_.error(ErrorCode::unsupported, *parts[0].schema,
                             concat("expected at most ", kMaxProperties, " properties"));
    }
    std::vector<Member> members;
    for (const std::string& name : names) {
      const bool must = std::find(required.begin(), required.end(), name) != required.end();
      const Parts values = property_parts(parts, name);
      const bool never = LM_TRY(document_.resolve(values)).nothing;
      if (never && must) return g_.nothing();
      if (never) continue;
      const ExprId key = g_.text(dump_json(Json(name)));
      members.push_back({g_.sequence({key, json_.colon(), value(values)}), must});
    }
    const bool unnamed = writes_unnamed(parts);
    uint32_t more_least = 0, more_most = unnamed ? kUnbounded : 0;
    LM_TRY(check_counts(parts, required.size(), members.size(), more_least, more_most));
    ExprId more = g_.nothing();
    if (more_most > 0) more = LM_TRY(unnamed_member(parts, names));
    return braces(members, more, more_least, more_most);
  }

  static std::vector<std::string> property_names(const Parts& parts,
                                                 const std::vector<std::string>& required) {
    std::vector<std::string> names;
    const auto add = [&](const std::string& name) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    };
    for (const Part& part : parts) {
      const Json* properties = keyword(*part.schema, "properties");
      if (properties == nullptr) continue;
      for (auto it = properties->begin(); it != properties->end(); ++it) add(it.key());
    }
    for (const std::string& name : required) add(name);
    return names;
  }

  // minProperties and maxProperties, where counting what is not named is enough to enforce them.
  Status check_counts(const Parts& parts, size_t n_required, size_t n_named, uint32_t& more_least,
                      uint32_t& more_most) const {
    const size_t least = tightest_count(parts, "minProperties", 0);
    const size_t most = tightest_count(parts, "maxProperties", SIZE_MAX);
    const bool fixed = n_required == n_named;
    if (least > n_required) {
      // Unnamed properties might repeat a name: only the first is sure to count.
      if (!fixed || least > n_required + 1 || more_most == 0) {
        return document_.error(
            ErrorCode::unsupported, *parts[0].schema,
            "expected minProperties to be at most the number of required properties");
      }
      more_least = 1;
    }
    if (most >= n_named && more_most == 0) return ok();
    if (most == SIZE_MAX) return ok();
    if (most < n_named + more_least || most - n_named > kMaxRepeat) {
      return document_.error(
          ErrorCode::unsupported, *parts[0].schema,
          "expected maxProperties to be at least the number of named properties");
    }
    more_most = uint32_t(most - n_named);
    return ok();
  }

  // A property under any name but these.
  Result<ExprId> unnamed_member(const Parts& parts, const std::vector<std::string>& names) {
    Parts values;
    for (const Part& part : parts) {
      const Json* additional = keyword(*part.schema, "additionalProperties");
      if (additional != nullptr) values.push_back({additional});
    }
    ExprId key = json_.any_string();
    if (!names.empty()) {
      Nfa taken;
      taken.final = taken.add_state();
      for (const std::string& name : names) {
        uint32_t at = Nfa::kStart;
        for (const char32_t c : characters(name)) {
          const uint32_t next = taken.add_state();
          taken.add_edge(at, c, c, next);
          at = next;
        }
        taken.add_jump(at, taken.final);
      }
      key = g_.json_string(complement(LM_TRY(determinize(taken, document_.work())), kLastChar));
    }
    return g_.sequence({key, json_.colon(), value(values)});
  }

  // Members in their order, those that are not required left out at will, then unnamed ones.
  ExprId braces(const std::vector<Member>& members, ExprId more, uint32_t more_least,
                uint32_t more_most) {
    const auto after_comma = [&](ExprId member) { return g_.sequence({json_.comma(), member}); };
    const size_t n = members.size();
    size_t n_optional = 0;  // that stand before any required one: each may be the first
    while (n_optional < n && !members[n_optional].required) ++n_optional;

    // What may follow the members up to i. Those after the first required one stand in a row.
    std::vector<ExprId> row;
    for (size_t i = n_optional + 1; i < n; ++i) {
      const ExprId next = after_comma(members[i].expr);
      row.push_back(members[i].required ? next : g_.optional(next));
    }
    row.push_back(g_.repeat(after_comma(more), more_least, more_most));
    ExprId tail = as_rule(g_.sequence(row));
    std::vector<ExprId> firsts;
    if (n_optional < n) firsts.push_back(g_.sequence({members[n_optional].expr, tail}));
    if (n_optional < n) tail = as_rule(g_.sequence({after_comma(members[n_optional].expr), tail}));
    for (size_t i = n_optional; i-- > 0;) {
      firsts.push_back(g_.sequence({members[i].expr, tail}));
      tail = as_rule(g_.sequence({g_.optional(after_comma(members[i].expr)), tail}));
    }
    if (n_optional == n && more_most > 0) {
      const uint32_t others = more_most == kUnbounded ? kUnbounded : more_most - 1;
      firsts.push_back(g_.sequence({more, g_.repeat(after_comma(more), 0, others)}));
    }
    const ExprId open = g_.sequence({g_.text("{"), json_.space()});
    const ExprId close = g_.sequence({json_.space(), g_.text("}")});
    const bool may_be_empty = n_optional == n && more_least == 0;
    if (firsts.empty()) return g_.sequence({open, g_.text("}")});
    const ExprId inside = as_rule(g_.choice(firsts));
    return g_.sequence({open, may_be_empty ? g_.optional(inside) : inside, close});
  }

  const SchemaDocument& document_;
  Grammar g_;
  JsonRules json_;
  std::map<Parts, RuleId> rules_;
  std::vector<std::pair<RuleId, Parts>> queue_;
  size_t next_ = 0;
};

}  // namespace

Result<Grammar> parse_json_schema(std::string_view text) {
  const SchemaDocument document = LM_TRY(SchemaDocument::parse(text));
  return Compiler(document).run();
}

}  // namespace lm::grammar
