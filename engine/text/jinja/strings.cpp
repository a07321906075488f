// What filters and methods of strings share.
#include "engine/core/text.h"
#include "engine/core/utf8.h"
#include "engine/text/jinja/library.h"

namespace lm::jinja {
namespace {

bool is_in(std::string_view set, std::string_view character) {
  for (size_t at = 0; at < set.size();) {
    const auto n = size_t(utf8::decode(set.substr(at, 4)).length);
    if (set.substr(at, n) == character) return true;
    at += n;
  }
  return false;
}

size_t last_character(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && end - begin < 4 && (text[begin] & 0xC0) == 0x80) --begin;
  return begin;
}

}  // namespace

Result<Value> strip(Context& context, const Text& text, const std::optional<Value>& characters,
                    Side side) {
  std::optional<Text> set;
  if (characters && !characters->is(Kind::none)) {
    set = LM_TRY(text_or(context.meter, characters, ""));
  }
  const std::string_view bytes = text.bytes();
  LM_TRY(context.meter.step(bytes.size() / 64 * (set ? 1 + set->size() : 1)));
  const auto goes = [&](std::string_view character) {
    return set ? is_in(set->bytes(), character) : is_space(utf8::decode(character).code_point);
  };
  size_t begin = 0, end = bytes.size();
  while (side != Side::right && begin < end) {
    const auto n = size_t(utf8::decode(bytes.substr(begin, 4)).length);
    if (!goes(bytes.substr(begin, n))) break;
    begin += n;
  }
  while (side != Side::left && begin < end) {
    const size_t last = last_character(bytes, end);
    if (last < begin || !goes(bytes.substr(last, end - last))) break;
    end = last;
  }
  TextBuilder out(context.meter);
  LM_TRY(out.append(text, begin, end));
  return out.finish();
}

Result<Value> replace(Context& context, const Text& text, const Text& from, const Text& to,
                      int64_t most) {
  TextBuilder out(context.meter);
  const std::string_view bytes = text.bytes();
  size_t done = 0;
  LM_TRY(context.meter.step(bytes.size() / 16 * (1 + from.size() / 256)));
  for (size_t at = 0; most != 0 && at <= bytes.size(); --most) {
    LM_TRY(context.meter.step());
    at = from.empty() ? at : bytes.find(from.bytes(), at);
    if (at == std::string_view::npos) break;
    LM_TRY(out.append(text, done, at));
    LM_TRY(out.append(to));
    done = at + from.size();
    at = done;
    if (from.empty())
      at += at < bytes.size() ? size_t(utf8::decode(bytes.substr(at, 4)).length) : 1;
  }
  LM_TRY(out.append(text, done, bytes.size()));
  return out.finish();
}

Result<Value> pad(Context& context, const Text& text, int64_t width, std::string_view fill,
                  Side where) {
  const auto size = int64_t(count_characters(text.bytes()));
  const int64_t missing = width > size ? width - size : 0;
  int64_t before = where == Side::left ? 0 : missing;
  if (where == Side::both) before = missing / 2 + (missing & width & 1);
  TextBuilder out(context.meter);
  for (int64_t i = 0; i < missing; ++i) {
    LM_TRY(context.meter.step());
    if (i == before) LM_TRY(out.append(text));
    LM_TRY(out.append(fill));
  }
  if (before == missing) LM_TRY(out.append(text));
  return out.finish();
}

// The alphabets that have case in pairs at a fixed distance: Latin with accents, Greek, Cyrillic.
char32_t to_upper(char32_t c) {
  if (c >= 'a' && c <= 'z') return c - 32;
  if (c < 0x80) return c;
  if ((c >= 0xE0 && c <= 0xFE && c != 0xF7) || (c >= 0x3B1 && c <= 0x3CB && c != 0x3C2))
    return c - 32;
  if (c == 0xFF) return 0x178;
  if (c == 0x3C2) return 0x3A3;
  if (c >= 0x430 && c <= 0x44F) return c - 32;
  if (c >= 0x450 && c <= 0x45F) return c - 80;
  const bool even = (c >= 0x100 && c <= 0x137 && c != 0x131) || (c >= 0x14A && c <= 0x177) ||
                    (c >= 0x460 && c <= 0x481) || (c >= 0x48A && c <= 0x4BF) ||
                    (c >= 0x1E00 && c <= 0x1E95) || (c >= 0x1EA0 && c <= 0x1EFF);
  if (even) return c & ~char32_t(1);
  const bool odd = (c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E);
  return odd && c % 2 == 0 ? c - 1 : c;
}

char32_t to_lower(char32_t c) {
  if (c >= 'A' && c <= 'Z') return c + 32;
  if (c < 0x80) return c;
  if ((c >= 0xC0 && c <= 0xDE && c != 0xD7) || (c >= 0x391 && c <= 0x3AB && c != 0x3A2))
    return c + 32;
  if (c == 0x178) return 0xFF;
  if (c >= 0x410 && c <= 0x42F) return c + 32;
  if (c >= 0x400 && c <= 0x40F) return c + 80;
  if (c != to_upper(c) || c == 0x130) return c;
  const char32_t next = c + 1;
  return next < 0x1F00 && next != 0x131 && next != 0x3C2 && to_upper(next) == c ? next : c;
}

Result<Value> with_case(Context& context, const Text& text, Case how) {
  LM_TRY(context.meter.memory(text.cost() * 2));
  Text out;
  bool in_word = false;
  for (size_t at = 0; at < text.size();) {
    const utf8::Decoded d = utf8::decode(text.bytes().substr(at, 4));
    const char32_t c = d.code_point;
    const bool is_letter = to_upper(c) != c || to_lower(c) != c;
    bool upper = how == Case::upper;
    if (how == Case::swap) upper = to_upper(c) != c;
    if (how == Case::title) upper = !in_word;
    if (how == Case::capitalize) upper = at == 0;
    in_word = is_letter;
    const size_t end = at + size_t(d.length);
    if (is_letter && d.valid) {
      std::string character;
      utf8::append(character, upper ? to_upper(c) : to_lower(c));
      out.append(character, text.origin());
    } else {
      out.append(text, at, end);
    }
    at = end;
  }
  return Value::text(std::move(out));
}

Result<Value> join(Context& context, const std::vector<Value>& items, const Text& separator) {
  TextBuilder out(context.meter);
  bool first = true;
  for (const Value& item : items) {
    if (!first) LM_TRY(out.append(separator));
    first = false;
    LM_TRY(print(out, context.meter, item));
  }
  return out.finish();
}

}  // namespace lm::jinja
