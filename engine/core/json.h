// engine/core/json.h — the one place that includes the JSON library.
// Text from outside is parsed through parse_json: bounded depth, no exceptions.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "engine/core/result.h"

namespace lm {

using Json = nlohmann::ordered_json;  // keeps the order in which keys were written

// Error (bad_file) with the byte position when `text` is not JSON or nests deeper than max_depth.
Result<Json> parse_json(std::string_view text, int max_depth = 128);

// Keys sorted: finding one costs log n, where Json searches all of them. For objects that may have
// as many keys as the sender likes, such as a vocabulary.
using SortedJson = nlohmann::json;
Result<SortedJson> parse_sorted_json(std::string_view text, int max_depth = 128);

// One line. Invalid UTF-8 in strings becomes U+FFFD.
std::string dump_json(const Json& value);

}  // namespace lm
