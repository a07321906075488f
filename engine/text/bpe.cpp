#include "engine/text/bpe.h"

#include <algorithm>
#include <utility>

#include "engine/text/word_cache.h"

namespace lm {

Result<std::unique_ptr<Tokenizer>> BpeTokenizer::create(Vocab vocab) {
  Pretokenizer pretokenizer = LM_TRY(Pretokenizer::create(vocab.pre.empty() ? "gpt-2" : vocab.pre));
  const std::vector<std::string> merges = std::move(vocab.merges);
  VocabTable table = LM_TRY(VocabTable::build(std::move(vocab)));
  MergeTable merge_table = LM_TRY(MergeTable::build(table, merges));
  return std::unique_ptr<Tokenizer>(
      new BpeTokenizer(std::move(table), std::move(merge_table), std::move(pretokenizer)));
}

BpeTokenizer::BpeTokenizer(VocabTable vocab_table, MergeTable merges, Pretokenizer pretokenizer)
    : VocabTokenizer(std::move(vocab_table)),
      merges_(std::move(merges)),
      pretokenizer_(std::move(pretokenizer)) {
  for (size_t b = 0; b < 256; ++b) {
    byte_ids_[b] = table().find_plain(alphabet_.spell(std::string(1, static_cast<char>(b))));
  }
}

void BpeTokenizer::encode_text(std::string_view text, std::vector<TokenId>& out) const {
  std::vector<std::string_view> words;
  pretokenizer_.split(text, words);
  MergeQueue queue;
  WordCache cache(out);
  for (const std::string_view word : words) {
    for (size_t at = 0; at < word.size(); at += kMaxWordBytes) {
      cache.append(word.substr(at, kMaxWordBytes), [&](std::string_view part) {
        encode_word(part, queue, out);
        return true;
      });
    }
  }
}

void BpeTokenizer::encode_word(std::string_view word, MergeQueue& queue,
                               std::vector<TokenId>& out) const {
  if (pretokenizer_.ignores_merges()) {
    const TokenId whole = table().find_plain(alphabet_.spell(word));
    if (whole >= 0) return out.push_back(whole);
  }
  queue.clear();
  for (const char c : word) queue.add(1, byte_ids_[static_cast<unsigned char>(c)]);
  queue.run([&](const MergeQueue::Symbol& left, const MergeQueue::Symbol& right) {
    return merges_.find(left.id, right.id);
  });
  queue.for_each([&](const MergeQueue::Symbol& symbol) {
    const TokenId id = symbol.id >= 0 ? symbol.id : table().vocab().unk;
    if (id >= 0) out.push_back(id);
  });
}

}  // namespace lm
