#include "engine/cli/ids.h"

#include <algorithm>

#include "engine/cli/options.h"

namespace lm::cli {

Result<std::vector<TokenId>> parse_ids(std::string_view list, int n_vocab) {
  constexpr std::string_view kBetween = " \t\r\n,";
  std::vector<TokenId> ids;
  for (size_t at = list.find_first_not_of(kBetween); at != std::string_view::npos;) {
    const size_t end = std::min(list.find_first_of(kBetween, at), list.size());
    Result<int64_t> id = integer_in(list.substr(at, end - at), 0, int64_t{n_vocab} - 1);
    if (!id.ok()) return std::move(id).error().within("token id");
    ids.push_back(TokenId(id.value()));
    at = list.find_first_not_of(kBetween, end);
  }
  return ids;
}

}  // namespace lm::cli
