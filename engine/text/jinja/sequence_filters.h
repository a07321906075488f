// engine/text/jinja/sequence_filters.h — the filters of lists and dictionaries, for the table in
// filters.cpp.
#pragma once
#include "engine/text/jinja/library.h"

namespace lm::jinja {

Result<Value> filter_attr(Context&, const Value&, const CallArguments&);
Result<Value> filter_batch(Context&, const Value&, const CallArguments&);
Result<Value> filter_dictsort(Context&, const Value&, const CallArguments&);
Result<Value> filter_first(Context&, const Value&, const CallArguments&);
Result<Value> filter_groupby(Context&, const Value&, const CallArguments&);
Result<Value> filter_items(Context&, const Value&, const CallArguments&);
Result<Value> filter_join(Context&, const Value&, const CallArguments&);
Result<Value> filter_last(Context&, const Value&, const CallArguments&);
Result<Value> filter_length(Context&, const Value&, const CallArguments&);
Result<Value> filter_list(Context&, const Value&, const CallArguments&);
Result<Value> filter_map(Context&, const Value&, const CallArguments&);
Result<Value> filter_max(Context&, const Value&, const CallArguments&);
Result<Value> filter_min(Context&, const Value&, const CallArguments&);
Result<Value> filter_reject(Context&, const Value&, const CallArguments&);
Result<Value> filter_rejectattr(Context&, const Value&, const CallArguments&);
Result<Value> filter_reverse(Context&, const Value&, const CallArguments&);
Result<Value> filter_select(Context&, const Value&, const CallArguments&);
Result<Value> filter_selectattr(Context&, const Value&, const CallArguments&);
Result<Value> filter_slice(Context&, const Value&, const CallArguments&);
Result<Value> filter_sort(Context&, const Value&, const CallArguments&);
Result<Value> filter_sum(Context&, const Value&, const CallArguments&);
Result<Value> filter_unique(Context&, const Value&, const CallArguments&);

}  // namespace lm::jinja
