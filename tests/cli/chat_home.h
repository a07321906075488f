// tests/cli/chat_home.h — what the tests of the terminal chat share: a home of their own, a model
// with a chat template, and how a person talks.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine/chat/transcript.h"
#include "engine/core/file.h"
#include "tests/cli/process.h"
#include "tests/reference/tiny_model.h"

namespace lm::test {

inline constexpr std::string_view kPrompt = "\x1b[?2004h> ";  // ready for a line
inline constexpr std::string_view kChatTemplate =
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]";

// A folder for everything that a chat keeps, and a model with a chat template.
struct Home {
  TempDir folder;
  std::string model = (folder.path() / "chat.gguf").string();

  Home() {
    TinyModel tiny = tiny_model("llama");
    tiny.n_ctx = 100'000;
    TinyFile file = write_tiny_model(tiny);
    file.writer.set_str("tokenizer.chat_template", kChatTemplate);
    require_ok(file.save(model));
  }
  std::filesystem::path chats() const { return folder.path() / "llm" / "chats"; }
  Setup setup(std::vector<std::string> args = {}) const {
    Setup setup;
    setup.args = {"chat", "-m", model, "--ctx", "600", "--seed", "1", "--no-disk-cache"};
    setup.args.insert(setup.args.end(), args.begin(), args.end());
    setup.in = setup.out = setup.err = Stream::terminal();
    setup.env = {"XDG_DATA_HOME=" + folder.path().string(), "TERM=xterm-256color",
                 "HOME=" + folder.path().string()};
    return setup;
  }
  // The only conversation that is kept.
  chat::Conversation kept() const {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(chats())) {
      files.push_back(entry.path());
    }
    REQUIRE(files.size() == 1);
    const std::string text = require_ok(read_file(files[0], 1 << 20));
    chat::Transcript transcript = require_ok(chat::read_transcript(text));
    CHECK(transcript.damaged_lines == 0);
    return transcript.conversation;
  }
};

inline std::vector<std::string> questions(const chat::Conversation& conversation) {
  std::vector<std::string> texts;
  for (const chat::Message* message : conversation.path()) {
    if (message->role == chat::Role::user) texts.push_back(message->content);
  }
  return texts;
}

inline void ask(Process& chat, std::string_view text) {
  REQUIRE(chat.expect(kPrompt));
  chat.type(std::string(text) + "\r");
}

inline void leave(Process& chat) {
  ask(chat, "/quit");
  CHECK(chat.finish().status == 0);
}

}  // namespace lm::test
