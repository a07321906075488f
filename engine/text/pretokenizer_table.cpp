// The expressions are those of the models' own tokenizer.json ("pre_tokenizer"); which name stands
// for which, and what goes with it, is llama.cpp's convention (get_vocab_base_pre in its
// converter).
// "\s" is Unicode's White_Space here, as in those files' engines. Where an expression differs from
// the model's own, it matches the same text in linear time, and says so.
#include "engine/text/pretokenizer_table.h"

#include <array>

namespace lm {
namespace {

using Stage = std::string_view;

#define LM_CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LM_TAIL R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"
#define LM_UPPER R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])"
#define LM_LOWER R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])"
#define LM_LEAD R"([^\r\n\p{L}\p{N}]?)"

constexpr Stage kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr Stage kLlama3Words =
    LM_CONTRACTIONS "|" LM_LEAD R"(\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)" LM_TAIL;
constexpr Stage kQwen2Words =
    LM_CONTRACTIONS "|" LM_LEAD R"(\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)" LM_TAIL;
constexpr Stage kCjk = R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";
constexpr Stage kCjkKana = R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)";
constexpr Stage kDigit = R"(\p{N})";
constexpr Stage kDigits = R"(\p{N}+)";
constexpr Stage kUpTo3Digits = R"(\p{N}{1,3})";
constexpr Stage kThreeDigits = "[0-9][0-9][0-9]";
constexpr Stage kLineBreak = R"([\r\n])";

constexpr Stage kDeepseekWords =
    "\\s?["  // the letters that have a case, as the model lists them: not all that Unicode has
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}"
    "\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}"
    "\\x{37F}\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}"
    "\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}"
    "\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}"
    "\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}"
    "\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}"
    "\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}"
    "\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}"
    "\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}"
    "\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}"
    "\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}"
    "\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}"
    "\\x{2CF2}-\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}"
    "\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}"
    "\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}"
    "\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}"
    "\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"
    "]+";
constexpr Stage kDeepseekPunctuation =
    R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)";
// The model's own is "\s+$", which a search tries at each of n spaces with n steps.
constexpr Stage kSpacesAtEnd = R"((?<!\s)\s++$)";

// DeepSeek V3, Hunyuan.
constexpr Stage kPunctuatedWords =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+)"
    R"(|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*)" LM_TAIL;
constexpr Stage kPunctuationOfFalcon = R"([\p{P}\$\+<=>\^~\|`]+)";
constexpr Stage kPunctuationOfDefault = R"([\p{P}\$\+<=>\^~\|]+)";
constexpr Stage kNoPunctuation = R"( ?[^(\s|.,!?…。，、।۔،)]+)";

constexpr Stage kGpt4oWords =
    LM_LEAD LM_UPPER "*" LM_LOWER "+" LM_CONTRACTIONS "?|" LM_LEAD LM_UPPER "+" LM_LOWER
                     "*" LM_CONTRACTIONS R"(?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*)" LM_TAIL;
constexpr Stage kTekkenWords = LM_LEAD LM_UPPER "*" LM_LOWER "+|" LM_LEAD LM_UPPER "+" LM_LOWER
                                                R"(*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*)" LM_TAIL;
constexpr Stage kYoutuWords =
    LM_LEAD LM_UPPER "*" LM_LOWER "+" LM_CONTRACTIONS "?|" LM_LEAD LM_UPPER "+" LM_LOWER
                     "*" LM_CONTRACTIONS R"(?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*)" LM_TAIL;

constexpr std::array kGpt2 = {kGpt2Words};
constexpr std::array kLlama3 = {kLlama3Words};
constexpr std::array kQwen2 = {kQwen2Words};
constexpr std::array kQwen35 = {Stage(
    LM_CONTRACTIONS "|" LM_LEAD R"([\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*)" LM_TAIL)};
constexpr std::array kDefault = {kPunctuationOfDefault, kGpt2Words, kDigits, kThreeDigits};
constexpr std::array kFalcon = {kPunctuationOfFalcon, kGpt2Words, kThreeDigits};
constexpr std::array kStarcoder = {kDigit, kGpt2Words};
constexpr std::array kDeepseekLlm = {kLineBreak,   kDeepseekWords, kDeepseekPunctuation,
                                     kSpacesAtEnd, kCjk,           kDigits};
constexpr std::array kDeepseekCoder = {kLineBreak, Stage(R"(\s?\p{L}+)"), Stage(R"(\s?\p{P}+)"),
                                       kCjk, kDigit};
constexpr std::array kDeepseekV3 = {kUpTo3Digits, kCjkKana, kPunctuatedWords};
constexpr std::array kBloom = {kNoPunctuation};
constexpr std::array kViking = {kNoPunctuation, kDigit};
constexpr std::array kTekken = {kTekkenWords};
constexpr std::array kGpt4o = {kGpt4oWords};
constexpr std::array kYoutu = {
    Stage(
        R"([\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+|[！…“”‘’—：；，\x{3001}-\x{303F}\x{FE30}-\x{FE4F}]+|[\x{3105}-\x{312F}]+|)"
        R"([\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+)"),
    kYoutuWords};
constexpr std::array kBailing = {
    Stage(R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*)"
          R"(|\s*[\r\n]|\s+(?!\S)|\s+)")};
constexpr std::array kSeedCoder = {
    Stage(LM_CONTRACTIONS "|" LM_LEAD R"(\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+)" LM_TAIL)};
constexpr std::array kMinicpm5 = {
    kUpTo3Digits,
    Stage(LM_CONTRACTIONS "|" LM_LEAD R"(\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*)" LM_TAIL)};

constexpr PretokenizerRow kRows[] = {
    {"default", kDefault},
    {"gpt-2", kGpt2},
    {"llama-bpe", kLlama3, true, true},
    {"llama3", kLlama3, true, true},
    {"llama-v3", kLlama3, true, true},
    {"falcon3", kLlama3, true, true},
    {"falcon-h1", kLlama3, true, true},
    {"pixtral", kLlama3, true, true},
    {"midm-2.0", kLlama3, true, true},
    {"lfm2", kLlama3, true, true},
    {"dbrx", kLlama3},
    {"smaug-bpe", kLlama3},
    {"chatglm-bpe", kLlama3},
    {"glm4", kLlama3},
    {"qwen2", kQwen2},
    {"deepseek-r1-qwen", kQwen2},
    {"stablelm2", kQwen2},
    {"megrez", kQwen2},
    {"hunyuan", kQwen2},
    {"solar-open", kQwen2},
    {"grok-2", kQwen2},
    {"kormo", kQwen2},
    {"qwen35", kQwen35},
    {"deepseek-llm", kDeepseekLlm},
    {"deepseek-coder", kDeepseekCoder},
    {"deepseek-v3", kDeepseekV3},
    {"hunyuan-dense", kDeepseekV3},
    {"joyai-llm", kDeepseekV3},
    {"falcon", kFalcon},
    {"starcoder", kStarcoder},
    {"refact", kStarcoder},
    {"command-r", kStarcoder},
    {"smollm", kStarcoder},
    {"codeshell", kStarcoder},
    {"exaone", kStarcoder},
    {"minerva-7b", kStarcoder},
    {"mellum2", kStarcoder},
    {"phi-2", kGpt2},
    {"olmo", kGpt2},
    {"mpt", kGpt2},
    {"jais", kGpt2},
    {"trillion", kGpt2},
    {"granite-docling", kGpt2},
    {"exaone4", kGpt2},
    {"gigachat", kGpt2},
    {"a.x-4.0", kGpt2},
    {"mellum", kGpt2},
    {"tekken", kTekken, true, true},
    {"gpt-4o", kGpt4o},
    {"llama4", kGpt4o},
    {"kanana2", kGpt4o},
    {"minimax-m2", kGpt4o},
    {"youtu", kYoutu, true},
    {"bailingmoe", kBailing},
    {"bailingmoe2", kBailing},
    {"llada-moe", kBailing},
    {"seed-coder", kSeedCoder},
    {"minicpm5", kMinicpm5, true},
    {"bloom", kBloom},
    {"gpt3-finnish", kBloom},
    {"poro-chat", kBloom},
    {"viking", kViking},
};

#undef LM_CONTRACTIONS
#undef LM_TAIL
#undef LM_UPPER
#undef LM_LOWER
#undef LM_LEAD

}  // namespace

std::span<const PretokenizerRow> pretokenizer_rows() {
  return kRows;
}

}  // namespace lm
