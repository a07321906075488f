// The methods of Python's str that templates use.
#include <algorithm>

#include "engine/core/text.h"
#include "engine/core/utf8.h"
#include "engine/text/jinja/library.h"

namespace lm::jinja {
namespace {

using Method = Result<Value> (*)(Context&, const Text&, const CallArguments&);

template <Case kHow>
Result<Value> change_case(Context& context, const Text& self, const CallArguments& arguments) {
  LM_TRY(bind("a change of case", arguments, {}));
  return with_case(context, self, kHow);
}

template <Side kSide>
Result<Value> strip_side(Context& context, const Text& self, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("strip", arguments, {"chars"}));
  return strip(context, self, bound[0], kSide);
}

// A prefix or suffix, or any of a tuple of them.
template <bool kStart>
Result<Value> has_end(Context& context, const Text& self, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("startswith", arguments, {"prefix"}, 1));
  std::vector<Value> candidates = {*bound[0]};
  if (bound[0]->is_tuple()) candidates = bound[0]->items();
  for (const Value& candidate : candidates) {
    if (!candidate.is_string()) {
      return template_error(
          concat("expected a string to compare with, found ", kind_name(candidate)));
    }
    LM_TRY(context.meter.step(1 + candidate.bytes().size() / 64));
    const std::string_view bytes = self.bytes();
    if (kStart ? bytes.starts_with(candidate.bytes()) : bytes.ends_with(candidate.bytes())) {
      return Value::boolean(true);
    }
  }
  return Value::boolean(false);
}

Result<std::vector<Value>> split_at_space(Context& context, const Text& text, int64_t most,
                                          bool from_right) {
  std::vector<TextRange> words;
  for (size_t at = 0; at < text.size();) {
    const utf8::Decoded d = utf8::decode(text.bytes().substr(at, 4));
    const size_t end = at + size_t(d.length);
    if (!is_space(d.code_point)) {
      if (!words.empty() && words.back().end == at) {
        words.back().end = end;
      } else {
        words.push_back({at, end});
      }
    }
    at = end;
  }
  LM_TRY(context.meter.memory(words.size() * (sizeof(Value) + sizeof(Text)) + text.cost()));
  if (most >= 0 && size_t(most) < words.size() && !words.empty()) {  // the rest stays whole
    if (from_right) {
      const auto merged = long(words.size()) - most;
      const TextRange first{words.front().begin, words[size_t(merged - 1)].end};
      words.erase(words.begin(), words.begin() + merged);
      words.insert(words.begin(), {0, first.end});
    } else {
      words[size_t(most)].end = text.size();
      words.resize(size_t(most) + 1);
    }
  }
  std::vector<Value> parts;
  for (const TextRange& word : words)
    parts.push_back(Value::text(text.slice(word.begin, word.end)));
  return parts;
}

Result<std::vector<Value>> split_at(Context& context, const Text& text, std::string_view separator,
                                    int64_t most, bool from_right) {
  if (separator.empty()) return template_error("expected a separator that is not empty");
  LM_TRY(context.meter.step(text.size() / 16 * (1 + separator.size() / 256)));
  std::vector<size_t> cuts;
  const std::string_view bytes = text.bytes();
  if (from_right) {
    size_t end = bytes.size();
    while (most < 0 || int64_t(cuts.size()) < most) {
      if (end < separator.size()) break;
      const size_t at = bytes.rfind(separator, end - separator.size());
      if (at == std::string_view::npos) break;
      cuts.push_back(at);
      end = at;
    }
    std::reverse(cuts.begin(), cuts.end());
  } else {
    size_t at = bytes.find(separator);
    while (at != std::string_view::npos && (most < 0 || int64_t(cuts.size()) < most)) {
      cuts.push_back(at);
      at = bytes.find(separator, at + separator.size());
    }
  }
  LM_TRY(context.meter.memory((cuts.size() + 1) * (sizeof(Value) + sizeof(Text)) + text.cost()));
  std::vector<Value> parts;
  size_t begin = 0;
  for (const size_t cut : cuts) {
    parts.push_back(Value::text(text.slice(begin, cut)));
    begin = cut + separator.size();
  }
  parts.push_back(Value::text(text.slice(begin, text.size())));
  return parts;
}

template <bool kRight>
Result<Value> split(Context& context, const Text& self, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("split", arguments, {"sep", "maxsplit"}));
  const int64_t most = LM_TRY(integer_or(bound[1], -1));
  const bool at_space = !bound[0] || bound[0]->is(Kind::none);
  std::vector<Value> parts;
  if (at_space) {
    parts = LM_TRY(split_at_space(context, self, most, kRight));
  } else {
    const Text separator = LM_TRY(text_or(context.meter, bound[0], ""));
    parts = LM_TRY(split_at(context, self, separator.bytes(), most, kRight));
  }
  return make_list(context.meter, std::move(parts));
}

// (before, separator, after).
template <bool kRight>
Result<Value> partition(Context& context, const Text& self, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("partition", arguments, {"sep"}, 1));
  const Text separator = LM_TRY(text_or(context.meter, bound[0], ""));
  std::vector<Value> parts = LM_TRY(split_at(context, self, separator.bytes(), 1, kRight));
  if (parts.size() == 2) {
    parts.insert(parts.begin() + 1, *bound[0]);
  } else {
    parts.insert(kRight ? parts.begin() : parts.end(), 2, Value::text(""));
  }
  return make_list(context.meter, std::move(parts), true);
}

Result<Value> split_lines(Context& context, const Text& self, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("splitlines", arguments, {"keepends"}));
  const bool keep = LM_TRY(boolean_or(bound[0], false));
  LM_TRY(context.meter.memory(self.cost()));
  std::vector<Value> lines;
  const std::string_view bytes = self.bytes();
  for (size_t at = 0; at < bytes.size();) {
    const size_t end = std::min(bytes.find_first_of("\r\n", at), bytes.size());
    const size_t newline = bytes.substr(end).starts_with("\r\n") ? 2 : end < bytes.size() ? 1 : 0;
    LM_TRY(context.meter.memory(sizeof(Value) + sizeof(Text)));
    lines.push_back(Value::text(self.slice(at, keep ? end + newline : end)));
    at = end + newline;
  }
  return make_list(context.meter, std::move(lines));
}

Result<Value> replace_method(Context& context, const Text& self, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("replace", arguments, {"old", "new", "count"}, 2));
  const Text from = LM_TRY(text_or(context.meter, bound[0], ""));
  const Text to = LM_TRY(text_or(context.meter, bound[1], ""));
  return replace(context, self, from, to, LM_TRY(integer_or(bound[2], -1)));
}

// The character at which `sub` stands; -1: nowhere.
template <bool kRight, bool kMust>
Result<Value> find_method(Context& context, const Text& self, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("find", arguments, {"sub", "start", "end"}, 1));
  const Text sub = LM_TRY(text_or(context.meter, bound[0], ""));
  const int64_t size = int64_t(count_characters(self.bytes()));
  LM_TRY(context.meter.step(self.size() / 16 * (1 + sub.size() / 256)));
  const auto clip = [&](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + size : i, 0, size); };
  const int64_t from = clip(LM_TRY(integer_or(bound[1], 0)));
  const int64_t to = clip(LM_TRY(integer_or(bound[2], size)));
  const size_t begin = byte_offset(self.bytes(), size_t(from));
  const size_t end = std::max(begin, byte_offset(self.bytes(), size_t(to)));
  const std::string_view part = self.bytes().substr(begin, end - begin);
  const size_t at = kRight ? part.rfind(sub.bytes()) : part.find(sub.bytes());
  if (at != std::string_view::npos) {
    return Value::integer(from + int64_t(count_characters(part.substr(0, at))));
  }
  if (kMust) return template_error("expected the text of index() in the string");
  return Value::integer(-1);
}

Result<Value> count(Context& context, const Text& self, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("count", arguments, {"sub"}, 1));
  const Text sub = LM_TRY(text_or(context.meter, bound[0], ""));
  if (sub.empty()) return Value::integer(int64_t(count_characters(self.bytes())) + 1);
  const auto parts = LM_TRY(split_at(context, self, sub.bytes(), -1, false));
  return Value::integer(int64_t(parts.size()) - 1);
}

Result<Value> join_method(Context& context, const Text& self, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("join", arguments, {"iterable"}, 1));
  const std::vector<Value> items = LM_TRY(iterate(context.meter, *bound[0]));
  for (const Value& item : items) {
    if (item.is_string()) continue;
    return template_error(concat("expected strings to join, found ", kind_name(item)));
  }
  return join(context, items, self);
}

template <bool kPrefix>
Result<Value> remove_end(Context& context, const Text& self, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("removeprefix", arguments, {"prefix"}, 1));
  const Text end = LM_TRY(text_or(context.meter, bound[0], ""));
  const bool has =
      kPrefix ? self.bytes().starts_with(end.bytes()) : self.bytes().ends_with(end.bytes());
  const size_t n = has ? end.size() : 0;
  TextBuilder out(context.meter);
  LM_TRY(out.append(self, kPrefix ? n : 0, kPrefix ? self.size() : self.size() - n));
  return out.finish();
}

template <Side kWhere>
Result<Value> pad_method(Context& context, const Text& self, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("ljust", arguments, {"width", "fillchar"}, 1));
  const int64_t width = LM_TRY(integer_or(bound[0], 0));
  const Text fill = LM_TRY(text_or(context.meter, bound[1], " "));
  if (count_characters(fill.bytes()) != 1)
    return template_error("expected one character to fill with");
  return pad(context, self, width, fill.bytes(), kWhere);
}

Result<Value> zero_fill(Context& context, const Text& self, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("zfill", arguments, {"width"}, 1));
  const int64_t width = LM_TRY(integer_or(bound[0], 0));
  const size_t sign = !self.empty() && (self.bytes()[0] == '-' || self.bytes()[0] == '+') ? 1 : 0;
  const Value digits = LM_TRY(pad(context, self.slice(sign, self.size()),
                                  std::max<int64_t>(width, 0) - int64_t(sign), "0", Side::right));
  TextBuilder out(context.meter);
  LM_TRY(out.append(self, 0, sign));
  LM_TRY(out.append(digits.as_text()));
  return out.finish();
}

bool is_digit(char32_t c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char32_t c) {  // outside ASCII: everything that is no space or punctuation
  if (c < 0x80) return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
  return c >= 0xAA && c != 0xAB && c != 0xBB && c != 0xD7 && c != 0xF7 && c != 0xFFFD &&
         !(c >= 0xAC && c <= 0xBF && c != 0xB5 && c != 0xBA) && !(c >= 0x2000 && c <= 0x2BFF) &&
         !(c >= 0x3000 && c <= 0x3004) && !(c >= 0xFF00 && c <= 0xFF0F) && c < 0x1F000;
}
bool is_letter_or_digit(char32_t c) {
  return is_digit(c) || is_letter(c);
}

template <bool (*kIs)(char32_t)>
Result<Value> all_are(Context& context, const Text& self, const CallArguments& arguments) {
  LM_TRY(bind("a test of characters", arguments, {}));
  LM_TRY(context.meter.step(self.size() / 16));
  for (size_t at = 0; at < self.size();) {
    const utf8::Decoded d = utf8::decode(self.bytes().substr(at, 4));
    if (!kIs(d.code_point)) return Value::boolean(false);
    at += size_t(d.length);
  }
  return Value::boolean(!self.empty());
}

template <bool kUpper>
Result<Value> has_case(Context& context, const Text& self, const CallArguments& arguments) {
  LM_TRY(bind("isupper", arguments, {}));
  LM_TRY(context.meter.step(self.size() / 16));
  bool any = false;
  for (size_t at = 0; at < self.size();) {
    const utf8::Decoded d = utf8::decode(self.bytes().substr(at, 4));
    const bool is_upper = to_lower(d.code_point) != d.code_point;
    const bool is_lower = to_upper(d.code_point) != d.code_point;
    if (kUpper ? is_lower : is_upper) return Value::boolean(false);
    any = any || is_upper || is_lower;
    at += size_t(d.length);
  }
  return Value::boolean(any);
}

constexpr Named<Method> kMethods[] = {
    {"capitalize", change_case<Case::capitalize>},
    {"casefold", change_case<Case::lower>},
    {"center", pad_method<Side::both>},
    {"count", count},
    {"endswith", has_end<false>},
    {"find", find_method<false, false>},
    {"format", format_braces},
    {"index", find_method<false, true>},
    {"isalnum", all_are<is_letter_or_digit>},
    {"isalpha", all_are<is_letter>},
    {"isdecimal", all_are<is_digit>},
    {"isdigit", all_are<is_digit>},
    {"islower", has_case<false>},
    {"isnumeric", all_are<is_digit>},
    {"isspace", all_are<is_space>},
    {"isupper", has_case<true>},
    {"join", join_method},
    {"ljust", pad_method<Side::left>},
    {"lower", change_case<Case::lower>},
    {"lstrip", strip_side<Side::left>},
    {"partition", partition<false>},
    {"removeprefix", remove_end<true>},
    {"removesuffix", remove_end<false>},
    {"replace", replace_method},
    {"rfind", find_method<true, false>},
    {"rindex", find_method<true, true>},
    {"rjust", pad_method<Side::right>},
    {"rpartition", partition<true>},
    {"rsplit", split<true>},
    {"rstrip", strip_side<Side::right>},
    {"split", split<false>},
    {"splitlines", split_lines},
    {"startswith", has_end<true>},
    {"strip", strip_side<Side::both>},
    {"swapcase", change_case<Case::swap>},
    {"title", change_case<Case::title>},
    {"upper", change_case<Case::upper>},
    {"zfill", zero_fill},
};

const Named<Method>* find_string_method(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kMethods), std::end(kMethods),
                   [&](const Named<Method>& method) { return method.name == name; });
  return found == std::end(kMethods) ? nullptr : found;
}

}  // namespace

bool has_string_method(std::string_view name) {
  return find_string_method(name) != nullptr;
}

Result<Value> call_string_method(Context& context, const Text& self, std::string_view name,
                                 const CallArguments& arguments) {
  const Named<Method>* method = find_string_method(name);
  if (method == nullptr) return template_error("expected a method of strings");
  return method->entry(context, self, arguments);
}

}  // namespace lm::jinja
