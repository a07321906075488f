#include "engine/text/jinja/sequence_filters.h"

#include <algorithm>

#include "engine/core/text.h"

namespace lm::jinja {
namespace {

using Pair = std::pair<Value, Value>;  // a key to compare by, and what it is the key of

// What a filter compares instead of the item: an attribute of it if one is named, without case
// unless that counts.
Result<Value> compare_key(Context& context, const Value& item,
                          const std::optional<Value>& attribute, bool case_sensitive) {
  Value key = item;
  if (attribute && !attribute->is(Kind::none)) key = LM_TRY(get_path(context, item, *attribute));
  if (!case_sensitive && key.is_string()) return with_case(context, key.as_text(), Case::lower);
  return key;
}

Result<std::vector<Pair>> keyed(Context& context, const Value& value,
                                const std::optional<Value>& attribute, bool case_sensitive) {
  std::vector<Pair> pairs;
  for (const Value& item : LM_TRY(iterate(context.meter, value))) {
    pairs.emplace_back(LM_TRY(compare_key(context, item, attribute, case_sensitive)), item);
  }
  return pairs;
}

Result<Value> list_of(Context& context, const std::vector<Pair>& pairs) {
  std::vector<Value> items;
  for (const Pair& pair : pairs) items.push_back(pair.second);
  return make_list(context.meter, std::move(items));
}

// Arguments behind the first n.
CallArguments behind(const CallArguments& arguments, size_t n) {
  CallArguments rest{{}, arguments.named};
  for (size_t i = n; i < arguments.positional.size(); ++i) {
    rest.positional.push_back(arguments.positional[i]);
  }
  return rest;
}

Result<std::string> name_argument(const CallArguments& arguments, size_t i, std::string_view what) {
  if (i < arguments.positional.size() && arguments.positional[i].is_string()) {
    return std::string(arguments.positional[i].bytes());
  }
  return template_error(concat("expected the name of ", what, " as argument"));
}

Result<Value> extreme(Context& context, const Value& value, const CallArguments& arguments,
                      bool largest) {
  const Bound bound = LM_TRY(bind("min", arguments, {"case_sensitive", "attribute"}));
  const bool case_sensitive = LM_TRY(boolean_or(bound[0], false));
  const std::vector<Pair> pairs = LM_TRY(keyed(context, value, bound[1], case_sensitive));
  if (pairs.empty()) return Value::undefined("an empty list has no smallest or largest item");
  size_t best = 0;
  for (size_t i = 1; i < pairs.size(); ++i) {
    const Value& a = pairs[largest ? best : i].first;
    const Value& b = pairs[largest ? i : best].first;
    if (LM_TRY(less(context.meter, a, b))) best = i;
  }
  return pairs[best].second;
}

// The items for which a test holds (or does not): of themselves or of an attribute; without a test,
// whether they are true.
Result<Value> choose(Context& context, const Value& value, const CallArguments& arguments,
                     bool of_attribute, bool keep) {
  const size_t first = of_attribute ? 1 : 0;
  if (arguments.positional.size() < first)
    return template_error("expected the name of an attribute");
  const bool has_test = arguments.positional.size() > first;
  const std::string test = has_test ? LM_TRY(name_argument(arguments, first, "a test")) : "";
  const CallArguments rest = behind(arguments, first + 1);
  std::vector<Value> chosen;
  for (const Value& item : LM_TRY(iterate(context.meter, value))) {
    Value subject = item;
    if (of_attribute) subject = LM_TRY(get_path(context, item, arguments.positional[0]));
    const bool holds =
        has_test ? LM_TRY(apply_test(context, test, subject, rest)) : subject.truth();
    if (holds == keep) chosen.push_back(item);
  }
  return make_list(context.meter, std::move(chosen));
}

Result<int64_t> part_count(const std::optional<Value>& argument) {
  const int64_t n = LM_TRY(integer_or(argument, 1));
  if (n >= 1 && n <= 1'000'000) return n;
  return template_error("expected a number of parts from 1 to 1000000");
}

}  // namespace

// A merge sort of our own: it may be given an order that is none, and must stop at an error.
Status sort_by_key(Meter& meter, std::vector<Pair>& items, bool descending) {
  LM_TRY(meter.memory(items.size() * sizeof(Pair)));
  std::vector<Pair> merged(items.size());
  for (size_t width = 1; width < items.size(); width *= 2) {
    for (size_t begin = 0; begin < items.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, items.size());
      const size_t end = std::min(begin + 2 * width, items.size());
      size_t left = begin, right = middle;
      for (size_t out = begin; out < end; ++out) {
        bool take_right = left == middle;
        if (left < middle && right < end) {
          const Value& a = items[descending ? left : right].first;
          const Value& b = items[descending ? right : left].first;
          take_right = LM_TRY(less(meter, a, b));
        }
        merged[out] = std::move(items[take_right ? right++ : left++]);
      }
    }
    items.swap(merged);
  }
  return ok();
}

Result<Value> filter_attr(Context& context, const Value& value, const CallArguments& arguments) {
  return get_attribute(context, value, LM_TRY(name_argument(arguments, 0, "an attribute")));
}

Result<Value> filter_batch(Context& context, const Value& value, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("batch", arguments, {"linecount", "fill_with"}, 1));
  const auto n = size_t(LM_TRY(part_count(bound[0])));
  std::vector<Value> batches, batch;
  for (const Value& item : LM_TRY(iterate(context.meter, value))) {
    batch.push_back(item);
    if (batch.size() < n) continue;
    batches.push_back(LM_TRY(make_list(context.meter, std::exchange(batch, {}))));
  }
  if (!batch.empty()) {
    LM_TRY(context.meter.memory(n * sizeof(Value)));
    if (bound[1] && !bound[1]->is(Kind::none)) batch.resize(n, *bound[1]);
    batches.push_back(LM_TRY(make_list(context.meter, std::move(batch))));
  }
  return make_list(context.meter, std::move(batches));
}

Result<Value> filter_slice(Context& context, const Value& value, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("slice", arguments, {"slices", "fill_with"}, 1));
  const auto n = size_t(LM_TRY(part_count(bound[0])));
  const std::vector<Value> items = LM_TRY(iterate(context.meter, value));
  std::vector<Value> slices;
  size_t at = 0;
  for (size_t i = 0; i < n; ++i) {
    const bool longer = i < items.size() % n;
    std::vector<Value> part;
    for (const size_t end = at + items.size() / n + size_t(longer); at < end; ++at) {
      part.push_back(items[at]);
    }
    const bool fills = bound[1] && !bound[1]->is(Kind::none) && items.size() % n != 0;
    if (fills && !longer) part.push_back(*bound[1]);
    slices.push_back(LM_TRY(make_list(context.meter, std::move(part))));
  }
  return make_list(context.meter, std::move(slices));
}

Result<Value> filter_dictsort(Context& context, const Value& value,
                              const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("dictsort", arguments, {"case_sensitive", "by", "reverse"}));
  const bool case_sensitive = LM_TRY(boolean_or(bound[0], false));
  const bool by_value = bound[1] && bound[1]->is_string() && bound[1]->bytes() == "value";
  if (!value.is(Kind::dict)) {
    return template_error(concat("expected a dictionary to sort, found ", kind_name(value)));
  }
  std::vector<Pair> pairs;
  for (const auto& [key, entry] : value.as_dict().entries) {
    Value by = LM_TRY(compare_key(context, by_value ? entry : key, std::nullopt, case_sensitive));
    pairs.emplace_back(std::move(by), LM_TRY(make_list(context.meter, {key, entry}, true)));
  }
  LM_TRY(sort_by_key(context.meter, pairs, LM_TRY(boolean_or(bound[2], false))));
  return list_of(context, pairs);
}

Result<Value> filter_first(Context& context, const Value& value, const CallArguments& arguments) {
  LM_TRY(bind("first", arguments, {}));
  if (value.is_string() || value.is(Kind::list)) return get_item(context, value, Value::integer(0));
  const std::vector<Value> items = LM_TRY(iterate(context.meter, value));
  return items.empty() ? Value::undefined("an empty sequence has no first item") : items.front();
}

Result<Value> filter_last(Context& context, const Value& value, const CallArguments& arguments) {
  LM_TRY(bind("last", arguments, {}));
  if (value.is_string() || value.is(Kind::list))
    return get_item(context, value, Value::integer(-1));
  const std::vector<Value> items = LM_TRY(iterate(context.meter, value));
  return items.empty() ? Value::undefined("an empty sequence has no last item") : items.back();
}

Result<Value> filter_groupby(Context& context, const Value& value, const CallArguments& arguments) {
  const Bound bound =
      LM_TRY(bind("groupby", arguments, {"attribute", "default", "case_sensitive"}, 1));
  const bool case_sensitive = LM_TRY(boolean_or(bound[2], false));
  std::vector<Pair> pairs;
  for (const Value& item : LM_TRY(iterate(context.meter, value))) {
    Value key = LM_TRY(compare_key(context, item, bound[0], case_sensitive));
    if (key.is_undefined() && bound[1]) key = *bound[1];
    pairs.emplace_back(std::move(key), item);
  }
  LM_TRY(sort_by_key(context.meter, pairs, false));
  std::vector<Value> groups;
  for (size_t begin = 0; begin < pairs.size();) {
    std::vector<Value> members;
    size_t end = begin;
    while (end < pairs.size() &&
           LM_TRY(equal(context.meter, pairs[begin].first, pairs[end].first))) {
      members.push_back(pairs[end++].second);
    }
    const Value grouper = LM_TRY(compare_key(context, members[0], bound[0], true));
    Value list = LM_TRY(make_list(context.meter, std::move(members)));
    groups.push_back(LM_TRY(make_list(
        context.meter, {grouper.is_undefined() ? pairs[begin].first : grouper, list}, true)));
    begin = end;
  }
  return make_list(context.meter, std::move(groups));
}

Result<Value> filter_items(Context& context, const Value& value, const CallArguments& arguments) {
  if (value.is_undefined()) return make_list(context.meter, {});
  if (value.is(Kind::dict)) return call_method(context, value, "items", arguments);
  return template_error(concat("expected a dictionary, found ", kind_name(value)));
}

Result<Value> filter_join(Context& context, const Value& value, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("join", arguments, {"d", "attribute"}));
  std::vector<Value> items = LM_TRY(iterate(context.meter, value));
  if (bound[1] && !bound[1]->is(Kind::none)) {
    for (Value& item : items) item = LM_TRY(get_path(context, item, *bound[1]));
  }
  const Text separator = bound[0] ? LM_TRY(to_text(context.meter, *bound[0])) : Text();
  return join(context, items, separator);
}

Result<Value> filter_length(Context& context, const Value& value, const CallArguments& arguments) {
  LM_TRY(bind("length", arguments, {}));
  return Value::integer(LM_TRY(length(context.meter, value)));
}

Result<Value> filter_list(Context& context, const Value& value, const CallArguments& arguments) {
  LM_TRY(bind("list", arguments, {}));
  return make_list(context.meter, LM_TRY(iterate(context.meter, value)));
}

Result<Value> filter_map(Context& context, const Value& value, const CallArguments& arguments) {
  std::vector<Value> results;
  const std::vector<Value> items = LM_TRY(iterate(context.meter, value));
  if (arguments.positional.empty()) {
    const Bound bound = LM_TRY(bind("map", {{}, arguments.named}, {"attribute", "default"}, 1));
    for (const Value& item : items) {
      Value found = LM_TRY(get_path(context, item, *bound[0]));
      if (found.is_undefined() && bound[1]) found = *bound[1];
      results.push_back(std::move(found));
    }
    return make_list(context.meter, std::move(results));
  }
  const std::string filter = LM_TRY(name_argument(arguments, 0, "a filter"));
  const CallArguments rest = behind(arguments, 1);
  for (const Value& item : items) {
    results.push_back(LM_TRY(apply_filter(context, filter, item, rest)));
  }
  return make_list(context.meter, std::move(results));
}

Result<Value> filter_max(Context& context, const Value& value, const CallArguments& arguments) {
  return extreme(context, value, arguments, true);
}
Result<Value> filter_min(Context& context, const Value& value, const CallArguments& arguments) {
  return extreme(context, value, arguments, false);
}
Result<Value> filter_select(Context& context, const Value& value, const CallArguments& arguments) {
  return choose(context, value, arguments, false, true);
}
Result<Value> filter_reject(Context& context, const Value& value, const CallArguments& arguments) {
  return choose(context, value, arguments, false, false);
}
Result<Value> filter_selectattr(Context& context, const Value& value,
                                const CallArguments& arguments) {
  return choose(context, value, arguments, true, true);
}
Result<Value> filter_rejectattr(Context& context, const Value& value,
                                const CallArguments& arguments) {
  return choose(context, value, arguments, true, false);
}

Result<Value> filter_reverse(Context& context, const Value& value, const CallArguments& arguments) {
  LM_TRY(bind("reverse", arguments, {}));
  std::vector<Value> items = LM_TRY(iterate(context.meter, value));
  std::reverse(items.begin(), items.end());
  if (value.is_string()) return join(context, items, Text());
  return make_list(context.meter, std::move(items));
}

Result<Value> filter_sort(Context& context, const Value& value, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("sort", arguments, {"reverse", "case_sensitive", "attribute"}));
  const bool case_sensitive = LM_TRY(boolean_or(bound[1], false));
  std::vector<Pair> pairs = LM_TRY(keyed(context, value, bound[2], case_sensitive));
  LM_TRY(sort_by_key(context.meter, pairs, LM_TRY(boolean_or(bound[0], false))));
  return list_of(context, pairs);
}

Result<Value> filter_sum(Context& context, const Value& value, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("sum", arguments, {"attribute", "start"}));
  Value total = bound[1].value_or(Value::integer(0));
  for (const Value& item : LM_TRY(iterate(context.meter, value))) {
    const Value term = LM_TRY(compare_key(context, item, bound[0], true));
    total = LM_TRY(arithmetic(context, "+", total, term));
  }
  return total;
}

Result<Value> filter_unique(Context& context, const Value& value, const CallArguments& arguments) {
  const Bound bound = LM_TRY(bind("unique", arguments, {"case_sensitive", "attribute"}));
  const bool case_sensitive = LM_TRY(boolean_or(bound[0], false));
  std::vector<Pair> kept;
  for (Pair& pair : LM_TRY(keyed(context, value, bound[1], case_sensitive))) {
    bool seen = false;
    for (const Pair& other : kept)
      seen = seen || LM_TRY(equal(context.meter, other.first, pair.first));
    if (!seen) kept.push_back(std::move(pair));
  }
  return list_of(context, kept);
}

}  // namespace lm::jinja
