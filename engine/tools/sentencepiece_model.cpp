#include "engine/tools/sentencepiece_model.h"

#include <bit>
#include <cstring>
#include <optional>
#include <string_view>

#include "engine/core/text.h"
#include "engine/core/utf8.h"

namespace lm::hf {
namespace {

constexpr std::string_view kFile = "tokenizer.model";

Error bad(std::string message) {
  return Error{ErrorCode::bad_file, concat(kFile, ": ", message)};
}

// One field of a message (protobuf.dev, "Encoding"): a number, or bytes.
struct Field {
  uint32_t number = 0;
  uint64_t value = 0;                // varint, 64-bit and 32-bit fields
  std::span<const std::byte> bytes;  // length-delimited fields
};

// Reads a message field by field; every length is compared with what remains.
class Message {
 public:
  explicit Message(std::span<const std::byte> bytes) : rest_(bytes) {}

  bool done() const { return rest_.empty(); }

  Result<Field> next() {
    const uint64_t tag = LM_TRY(varint());
    Field field{.number = uint32_t(tag >> 3), .bytes = {}};
    if (tag >> 3 == 0 || tag >> 3 >= 1u << 29)
      return bad("expected a protobuf field, found a bad tag");
    switch (tag & 7) {
      case 0:
        field.value = LM_TRY(varint());
        return field;
      case 1:
        field.value = LM_TRY(fixed(8));
        return field;
      case 5:
        field.value = LM_TRY(fixed(4));
        return field;
      case 2:
        field.bytes = LM_TRY(take(LM_TRY(varint())));
        return field;
      default:
        return bad("expected a protobuf field, found a bad type");
    }
  }

 private:
  Result<std::span<const std::byte>> take(uint64_t n) {
    if (n > rest_.size()) return bad(concat("expected ", n, " more bytes, found ", rest_.size()));
    const std::span<const std::byte> taken = rest_.first(size_t(n));
    rest_ = rest_.subspan(size_t(n));
    return taken;
  }

  Result<uint64_t> fixed(size_t n) {
    uint64_t value = 0;
    const std::span<const std::byte> taken = LM_TRY(take(n));
    for (size_t i = 0; i < n; ++i) value |= uint64_t(taken[i]) << (8 * i);
    return value;
  }

  Result<uint64_t> varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = uint64_t(LM_TRY(take(1))[0]);
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
    return bad("expected a number of at most 10 bytes, found a longer one");
  }

  std::span<const std::byte> rest_;
};

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

struct Piece {
  std::string_view text;
  float score = 0;
  uint64_t type = 1;  // NORMAL
};

Result<Piece> read_piece(std::span<const std::byte> bytes) {
  Piece piece;
  for (Message message(bytes); !message.done();) {
    const Field field = LM_TRY(message.next());
    if (field.number == 1) piece.text = as_text(field.bytes);
    if (field.number == 2) piece.score = std::bit_cast<float>(uint32_t(field.value));
    if (field.number == 3) piece.type = field.value;
  }
  if (piece.text.empty() || !utf8::is_valid(piece.text))
    return bad("expected pieces of UTF-8 text, found another");
  if (piece.type < 1 || piece.type > 6)
    return bad(concat("expected piece types 1 to 6, found ", piece.type));
  if (!(piece.score > -1e30f && piece.score < 1e30f))
    return bad("expected finite scores, found another");
  return piece;
}

struct Spec {
  uint64_t model_type = 1;  // UNIGRAM, as the schema's default says
  int32_t unk = 0, bos = 1, eos = 2, pad = -1;
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, has_charsmap = false;
};

Status read_trainer(std::span<const std::byte> bytes, Spec& spec) {
  for (Message message(bytes); !message.done();) {
    const Field field = LM_TRY(message.next());
    switch (field.number) {
      case 3:
        spec.model_type = field.value;
        break;
      case 40:
        spec.unk = int32_t(field.value);
        break;
      case 41:
        spec.bos = int32_t(field.value);
        break;
      case 42:
        spec.eos = int32_t(field.value);
        break;
      case 43:
        spec.pad = int32_t(field.value);
        break;
      default:
        break;
    }
  }
  return ok();
}

Status read_normalizer(std::span<const std::byte> bytes, Spec& spec) {
  for (Message message(bytes); !message.done();) {
    const Field field = LM_TRY(message.next());
    switch (field.number) {
      case 2:
        spec.has_charsmap = !field.bytes.empty();
        break;
      case 3:
        spec.add_dummy_prefix = field.value != 0;
        break;
      case 4:
        spec.remove_extra_whitespaces = field.value != 0;
        break;
      default:
        break;
    }
  }
  return ok();
}

}  // namespace

Result<Vocab> parse_sentencepiece(std::span<const std::byte> bytes, int64_t n_vocab,
                                  std::vector<std::string>& notes) {
  constexpr uint64_t kBpe = 2;
  Vocab vocab = unused_vocab(n_vocab);
  vocab.kind = Vocab::Kind::sentencepiece;
  vocab.scores.assign(vocab.tokens.size(),
                      -10000.0f);  // below every merge: the field's score of unused ids
  Spec spec;
  int64_t n = 0;
  for (Message message(bytes); !message.done();) {
    const Field field = LM_TRY(message.next());
    if (field.number == 2) LM_TRY(read_trainer(field.bytes, spec));
    if (field.number == 3) LM_TRY(read_normalizer(field.bytes, spec));
    if (field.number != 1) continue;
    const Piece piece = LM_TRY(read_piece(field.bytes));
    if (n >= n_vocab)
      return bad(concat("expected at most the ", n_vocab, " tokens of config.json, found more"));
    vocab.tokens[size_t(n)] = piece.text;
    vocab.scores[size_t(n)] = piece.score;
    constexpr TokenType kTypes[] = {TokenType::normal,       TokenType::unknown, TokenType::control,
                                    TokenType::user_defined, TokenType::unused,  TokenType::byte};
    vocab.types[size_t(n)] = kTypes[piece.type - 1];
    if (vocab.types[size_t(n)] == TokenType::user_defined)
      vocab.tokens[size_t(n)] = with_spaces(piece.text);
    ++n;
  }
  if (n == 0) return bad("expected pieces, found none");
  if (spec.model_type != kBpe) {
    return Error{ErrorCode::unsupported,
                 concat(kFile, ": expected model type BPE (2), found type ", spec.model_type)};
  }
  if (spec.has_charsmap || spec.remove_extra_whitespaces) {
    notes.emplace_back(
        "tokenizer.model normalises text (spaces or characters) before it is cut, which GGUF "
        "cannot say");
  }
  const auto known = [&](int32_t id) { return id >= 0 && id < n ? int64_t(id) : -1; };
  vocab.unk = known(spec.unk), vocab.bos = known(spec.bos), vocab.eos = known(spec.eos),
  vocab.pad = known(spec.pad);
  vocab.add_space_prefix = spec.add_dummy_prefix;
  return vocab;
}

}  // namespace lm::hf
