#include "engine/tools/calibration.h"

#include <algorithm>

#include "engine/core/text.h"
#include "engine/model/model.h"
#include "engine/text/tokenizer.h"

namespace lm {

Result<Calibration> make_calibration(const gguf::File& file, std::string_view text, int n_ctx,
                                     int max_sequences) {
  const ModelConfig config = LM_TRY(read_config(file));
  const std::unique_ptr<Tokenizer> tokenizer = LM_TRY(Tokenizer::from_gguf(file));
  std::vector<TokenId> tokens;
  tokenizer->encode(text, Tokenizer::Special::as_text, tokens);
  Calibration calibration;
  calibration.n_ctx = std::min(n_ctx, config.n_ctx_train);
  const bool bos = tokenizer->add_bos() && calibration.n_ctx > 1;
  const size_t n = size_t(calibration.n_ctx) - (bos ? 1 : 0);  // of the text, in a sequence
  const size_t whole = tokens.size() / n;
  if (whole == 0) {
    return Error{ErrorCode::bad_request, concat("expected a calibration text of at least ", n,
                                                " tokens, found ", tokens.size())};
  }
  for (const TokenId id : tokens) {
    if (id >= 0 && id < config.n_vocab) continue;
    return Error{ErrorCode::bad_file, concat("expected a vocabulary of at most ", config.n_vocab,
                                             " tokens as the model has, found token ", id)};
  }
  const size_t count = std::min(whole, size_t(max_sequences));
  for (size_t i = 0; i < count; ++i) {
    const auto first = tokens.begin() + std::ptrdiff_t(i * whole / count * n);
    std::vector<TokenId> sequence;
    if (bos) sequence.push_back(tokenizer->bos());
    sequence.insert(sequence.end(), first, first + std::ptrdiff_t(n));
    calibration.sequences.push_back(std::move(sequence));
  }
  return calibration;
}

}  // namespace lm
