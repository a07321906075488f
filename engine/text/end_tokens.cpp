#include "engine/text/end_tokens.h"

#include <array>

namespace lm {
namespace {

constexpr std::array<std::string_view, 13> kAlways = {
    "<|eot_id|>",          // Llama 3
    "<|eom_id|>",          // Llama 3.1, before a tool answers
    "<|im_end|>",          // ChatML: Qwen, SmolLM, ...
    "<|end|>",             // Phi-3
    "<|endoftext|>",       // GPT-2, Phi, Qwen
    "<|end_of_text|>",     // Llama 3, Granite
    "<|return|>",          // gpt-oss
    "<|call|>",            // gpt-oss, before a tool answers
    "<end_of_turn>",       // Gemma
    "<end_of_utterance>",  // SmolDocling
    "<|fim_pad|>",         // Qwen coder: the text in the middle is complete
    "<|repo_name|>",       // Qwen coder: another repository starts
    "<|file_sep|>",        // Qwen coder: another file starts
};

constexpr std::array<std::string_view, 7> kIfControl = {
    "</s>",
    "<eos>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<｜end▁of▁sentence｜>",  // DeepSeek
};

}  // namespace

std::span<const std::string_view> end_token_texts() {
  return kAlways;
}
std::span<const std::string_view> end_token_texts_if_control() {
  return kIfControl;
}

}  // namespace lm
