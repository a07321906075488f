// Filters of single values and strings, and the table of all filters.
#include <algorithm>
#include <cmath>

#include "engine/core/text.h"
#include "engine/text/jinja/library.h"
#include "engine/text/jinja/sequence_filters.h"

namespace lm::jinja {
namespace {

Result<Value> filter_abs(Context& context, const Value& value, const CallArguments& arguments) {
  LM_TRY(bind("abs", arguments, {}));
  if (value.is(Kind::real)) return Value::real(std::fabs(value.as_real()));
  if (!value.is_number())
    return template_error(concat("expected a number, found ", kind_name(value)));
  if (value.as_integer() >= 0) return value;
  return arithmetic(context, "-", Value::integer(0), value);
}

Result<Value> filter_default(Context&, const Value& value, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("default", arguments, {"default_value", "boolean"}));
  const bool falsy_too = LM_TRY(boolean_or(bound[1], false));
  if (!value.is_undefined() && (!falsy_too || value.truth())) return value;
  return bound[0] ? *bound[0] : Value::text("");
}

// Python's int(): what begins a text must be all of it.
std::optional<Value> integer_in_text(std::string_view text, int64_t base) {
  if (base != 10) return std::nullopt;
  if (const std::optional<int64_t> number = parse_int(text)) return Value::integer(*number);
  const std::optional<double> real = parse_double(text);
  if (real && std::fabs(*real) < 9e18) return Value::integer(int64_t(*real));
  return std::nullopt;
}

Result<std::string> stripped(Context& context, const Value& value) {
  const Value text = LM_TRY(strip(context, value.as_text(), std::nullopt, Side::both));
  return std::string(text.bytes());
}

Result<Value> filter_int(Context& context, const Value& value, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("int", arguments, {"default", "base"}));
  const Value otherwise = bound[0].value_or(Value::integer(0));
  if (value.is_undefined()) return template_error(std::string(value.reason()));
  if (value.is_whole()) return Value::integer(value.as_integer());
  if (value.is(Kind::real)) {
    if (!(std::fabs(value.as_real()) < 9e18)) return otherwise;
    return Value::integer(int64_t(value.as_real()));
  }
  if (!value.is_string()) return otherwise;
  const std::string text = LM_TRY(stripped(context, value));
  return integer_in_text(text, LM_TRY(integer_or(bound[1], 10))).value_or(otherwise);
}

Result<Value> filter_float(Context& context, const Value& value, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("float", arguments, {"default"}));
  const Value otherwise = bound[0].value_or(Value::real(0));
  if (value.is_undefined()) return template_error(std::string(value.reason()));
  if (value.is_number()) return Value::real(value.as_real());
  if (!value.is_string()) return otherwise;
  const std::optional<double> real = parse_double(LM_TRY(stripped(context, value)));
  return real ? Value::real(*real) : otherwise;
}

Result<Value> filter_round(Context&, const Value& value, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("round", arguments, {"precision", "method"}));
  const int64_t precision = std::clamp<int64_t>(LM_TRY(integer_or(bound[0], 0)), -300, 300);
  if (!value.is_number())
    return template_error(concat("expected a number, found ", kind_name(value)));
  const std::string_view method = bound[1] && bound[1]->is_string() ? bound[1]->bytes() : "common";
  if (method != "common" && method != "ceil" && method != "floor") {
    return template_error("expected common, ceil or floor as a way to round");
  }
  const double scale = std::pow(10.0, double(precision));
  const double scaled = value.as_real() * scale;
  if (!std::isfinite(scaled)) return Value::real(value.as_real());
  const double rounded = method == "ceil"    ? std::ceil(scaled)
                         : method == "floor" ? std::floor(scaled)
                                             : std::nearbyint(scaled);  // to even, as Python does
  return Value::real(rounded / scale);
}

Result<Value> filter_string(Context& context, const Value& value, const CallArguments& arguments) {
  LM_TRY(bind("string", arguments, {}));
  return Value::text(LM_TRY(to_text(context.meter, value)));
}

Result<Value> filter_safe(Context& context, const Value& value, const CallArguments& arguments) {
  return filter_string(context, value, arguments);
}

template <Case kHow>
Result<Value> change_case(Context& context, const Value& value, const CallArguments& arguments) {
  LM_TRY(bind("a change of case", arguments, {}));
  return with_case(context, LM_TRY(to_text(context.meter, value)), kHow);
}

// Unlike str.title(): a word begins behind space or an opening bracket or a dash, nothing else.
Result<Value> filter_title(Context& context, const Value& value, const CallArguments& arguments) {
  LM_TRY(bind("title", arguments, {}));
  const Text text = LM_TRY(to_text(context.meter, value));
  LM_TRY(context.meter.memory(text.cost() * 2));
  Text out;
  size_t begin = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    const bool ends_word =
        i == text.size() ||
        std::string_view(" \t\n\r\f\v-([{<").find(text.bytes()[i]) != std::string_view::npos;
    if (!ends_word) continue;
    const Value word = LM_TRY(with_case(context, text.slice(begin, i), Case::capitalize));
    out.append(word.as_text());
    if (i < text.size()) out.append(text, i, i + 1);
    begin = i + 1;
  }
  return Value::text(std::move(out));
}

Result<Value> filter_trim(Context& context, const Value& value, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("trim", arguments, {"chars"}));
  return strip(context, LM_TRY(to_text(context.meter, value)), bound[0], Side::both);
}

Result<Value> filter_replace(Context& context, const Value& value, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("replace", arguments, {"old", "new", "count"}, 2));
  const Text from = LM_TRY(to_text(context.meter, *bound[0]));
  const Text to = LM_TRY(to_text(context.meter, *bound[1]));
  const bool all = !bound[2] || bound[2]->is(Kind::none);
  const int64_t most = all ? -1 : LM_TRY(integer_or(bound[2], -1));
  return replace(context, LM_TRY(to_text(context.meter, value)), from, to, most);
}

Result<Value> filter_center(Context& context, const Value& value, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("center", arguments, {"width"}));
  const int64_t width = LM_TRY(integer_or(bound[0], 80));
  return pad(context, LM_TRY(to_text(context.meter, value)), width, " ", Side::both);
}

Result<Value> filter_escape(Context& context, const Value& value, const CallArguments& arguments) {
  LM_TRY(bind("escape", arguments, {}));
  const Text text = LM_TRY(to_text(context.meter, value));
  TextBuilder out(context.meter);
  size_t done = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text.bytes()[i];
    const std::string_view name = c == '&'    ? "&amp;"
                                  : c == '<'  ? "&lt;"
                                  : c == '>'  ? "&gt;"
                                  : c == '"'  ? "&#34;"
                                  : c == '\'' ? "&#39;"
                                              : "";
    if (name.empty()) continue;
    LM_TRY(out.append(text, done, i));
    LM_TRY(out.append(name, text.origin()));
    done = i + 1;
  }
  LM_TRY(out.append(text, done, text.size()));
  return out.finish();
}

Result<Value> filter_format(Context& context, const Value& value, const CallArguments& arguments) {
  if (!arguments.positional.empty() && !arguments.named.empty()) {
    return template_error("expected arguments to format either by place or by name, found both");
  }
  const Text format = LM_TRY(to_text(context.meter, value));
  if (arguments.named.empty()) {
    return format_percent(context, format,
                          LM_TRY(make_list(context.meter, arguments.positional, true)));
  }
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [name, argument] : arguments.named) {
    LM_TRY(put(context.meter, entries, Value::text(name), argument));
  }
  return format_percent(context, format, LM_TRY(make_dict(context.meter, std::move(entries))));
}

// A number of spaces, or a text; none: nullopt.
Result<std::optional<std::string>> indentation(Context& context,
                                               const std::optional<Value>& value) {
  if (!value || value->is(Kind::none)) return std::optional<std::string>();
  if (value->is_string()) return std::optional(std::string(value->bytes()));
  const int64_t width = LM_TRY(integer_or(value, 0));
  if (width > 1000) return template_error("expected an indentation of at most 1000 characters");
  LM_TRY(context.meter.step());
  return std::optional(std::string(size_t(std::max<int64_t>(width, 0)), ' '));
}

Result<Value> filter_indent(Context& context, const Value& value, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("indent", arguments, {"width", "first", "blank"}));
  const std::string indent =
      LM_TRY(indentation(context, bound[0] ? bound[0] : Value::integer(4))).value_or("");
  const bool first = LM_TRY(boolean_or(bound[1], false)),
             blank = LM_TRY(boolean_or(bound[2], false));
  const Text text = LM_TRY(to_text(context.meter, value));
  TextBuilder out(context.meter);
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.bytes().find('\n', at), text.size());
    const bool wanted = at == 0 ? first : blank || end > at;
    if (wanted) LM_TRY(out.append(indent));
    LM_TRY(out.append(text, at, std::min(end + 1, text.size())));
    at = end + 1;
  }
  return out.finish();
}

Result<Value> filter_tojson(Context& context, const Value& value, const CallArguments& arguments) {
  const Bound bound =
      LM_TRY(bind("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"}));
  JsonStyle style;
  // Jinja's own filter has the indentation first; Hugging Face's has it second.
  const bool indent_first = bound[0] && bound[0]->is(Kind::integer);
  style.indent = LM_TRY(indentation(context, indent_first ? bound[0] : bound[1]));
  style.ascii = !indent_first && LM_TRY(boolean_or(bound[0], false));
  style.sorted = LM_TRY(boolean_or(bound[3], false));
  if (style.indent) style.item_separator = ",";
  if (bound[2] && !bound[2]->is(Kind::none)) {
    const std::vector<Value> pair = LM_TRY(iterate(context.meter, *bound[2]));
    if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
      return template_error("expected two strings as separators");
    }
    style.item_separator = pair[0].bytes();
    style.key_separator = pair[1].bytes();
  }
  TextBuilder out(context.meter);
  LM_TRY(write_json(out, context.meter, value, style));
  return out.finish();
}

Result<Value> filter_word_count(Context& context, const Value& value,
                                const CallArguments& arguments) {
  LM_TRY(bind("wordcount", arguments, {}));
  const Text text = LM_TRY(to_text(context.meter, value));
  const Value words = LM_TRY(call_string_method(context, text, "split", {}));
  return Value::integer(int64_t(words.items().size()));
}

Result<Value> filter_truncate(Context& context, const Value& value,
                              const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("truncate", arguments, {"length", "killwords", "end", "leeway"}));
  const int64_t most = LM_TRY(integer_or(bound[0], 255)), leeway = LM_TRY(integer_or(bound[3], 5));
  const Text end = LM_TRY(text_or(context.meter, bound[2], "..."));
  const auto end_size = int64_t(count_characters(end.bytes()));
  if (most < end_size || most > (int64_t(1) << 40) || leeway < 0 || leeway > (int64_t(1) << 40)) {
    return template_error("expected a length to truncate to that has room for the end");
  }
  Text text = LM_TRY(to_text(context.meter, value));
  if (int64_t(count_characters(text.bytes())) <= most + leeway) return Value::text(std::move(text));
  size_t cut = byte_offset(text.bytes(), size_t(most - end_size));
  if (!LM_TRY(boolean_or(bound[1], false))) {
    const size_t space = text.bytes().substr(0, cut).rfind(' ');
    if (space != std::string_view::npos) cut = space;
  }
  TextBuilder out(context.meter);
  LM_TRY(out.append(text, 0, cut));
  LM_TRY(out.append(end));
  return out.finish();
}

Result<Value> filter_url_encode(Context& context, const Value& value,
                                const CallArguments& arguments) {
  LM_TRY(bind("urlencode", arguments, {}));
  const Text text = LM_TRY(to_text(context.meter, value));
  static constexpr std::string_view kHex = "0123456789ABCDEF";
  static constexpr std::string_view kPlain = "_.-~/";
  TextBuilder out(context.meter);
  for (const char c : text.bytes()) {
    const char lower = char(c | 0x20);
    const bool plain = (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') ||
                       kPlain.find(c) != std::string_view::npos;
    const auto byte = static_cast<unsigned char>(c);
    const std::string code =
        plain ? std::string(1, c) : std::string{'%', kHex[byte >> 4], kHex[byte & 15]};
    LM_TRY(out.append(code, text.origin()));
  }
  return out.finish();
}

constexpr Named<Filter> kFilters[] = {
    {"abs", filter_abs},
    {"attr", filter_attr},
    {"batch", filter_batch},
    {"capitalize", change_case<Case::capitalize>},
    {"center", filter_center},
    {"count", filter_length},
    {"d", filter_default},
    {"default", filter_default},
    {"dictsort", filter_dictsort},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"first", filter_first},
    {"float", filter_float},
    {"forceescape", filter_escape},
    {"format", filter_format},
    {"groupby", filter_groupby},
    {"indent", filter_indent},
    {"int", filter_int},
    {"items", filter_items},
    {"join", filter_join},
    {"last", filter_last},
    {"length", filter_length},
    {"list", filter_list},
    {"lower", change_case<Case::lower>},
    {"map", filter_map},
    {"max", filter_max},
    {"min", filter_min},
    {"reject", filter_reject},
    {"rejectattr", filter_rejectattr},
    {"replace", filter_replace},
    {"reverse", filter_reverse},
    {"round", filter_round},
    {"safe", filter_safe},
    {"select", filter_select},
    {"selectattr", filter_selectattr},
    {"slice", filter_slice},
    {"sort", filter_sort},
    {"string", filter_string},
    {"sum", filter_sum},
    {"title", filter_title},
    {"tojson", filter_tojson},
    {"trim", filter_trim},
    {"truncate", filter_truncate},
    {"unique", filter_unique},
    {"upper", change_case<Case::upper>},
    {"urlencode", filter_url_encode},
    {"wordcount", filter_word_count},
};

const Named<Filter>* find_filter(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kFilters), std::end(kFilters),
                   [&](const Named<Filter>& filter) { return filter.name == name; });
  return found == std::end(kFilters) ? nullptr : found;
}

}  // namespace

bool has_filter(std::string_view name) {
  return find_filter(name) != nullptr;
}

Result<Value> apply_filter(Context& context, std::string_view name, const Value& value,
                           const CallArguments& arguments) {
  const Named<Filter>* filter = find_filter(name);
  if (filter == nullptr) {
    return template_error(concat("expected a filter, found \"", printable(name, 60), "\""));
  }
  return filter->entry(context, value, arguments);
}

}  // namespace lm::jinja
