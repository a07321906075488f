// engine/chat/store.h — where conversations are kept: a folder that only its owner can read, with
// one file for each, which only grows. What was appended survives the end of the program, however
// it ends.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/chat/transcript.h"
#include "engine/core/result.h"

namespace lm::chat {

// $XDG_DATA_HOME/llm or ~/.local/share/llm, of the values of these variables (nullptr: unset);
// empty when neither says.
std::filesystem::path data_folder(const char* xdg_data_home, const char* home);

// "2026-01-31 12:00:00", local time.
std::string time_text();

// A conversation's file, open for appending, and locked: one program at a time goes on with it.
class ConversationFile {
 public:
  ConversationFile(ConversationFile&&) noexcept;
  ConversationFile& operator=(ConversationFile&&) noexcept;
  ~ConversationFile();

  const std::filesystem::path& path() const;
  std::string id() const;  // what /load and --list call it
  // Whole or not at all.
  Status append(std::string_view lines);

 private:
  friend class Store;
  struct Impl;
  explicit ConversationFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

struct Opened {
  ConversationFile file;
  Transcript transcript;
};

struct Listed {
  std::string id;
  std::string created, title;  // title: the first question
  size_t n_messages = 0;
  std::string damage;  // why it can't be read; empty: it can
};

class Store {
 public:
  explicit Store(std::filesystem::path data_folder) : folder_(std::move(data_folder) / "chats") {}

  const std::filesystem::path& folder() const { return folder_; }
  Result<ConversationFile> create(std::string_view created) const;
  // bad_request: there is no such conversation, or another program has it open. What was cut off
  // at the end of its file is removed.
  Result<Opened> open(std::string_view id) const;
  Result<std::string> newest() const;        // the id of the one that changed last
  Result<std::vector<Listed>> list() const;  // the one that changed last comes last

 private:
  Result<std::vector<std::string>> ids() const;  // in the order of their last change

  std::filesystem::path folder_;
};

inline constexpr uint64_t kMaxTranscriptBytes = 256 << 20;

}  // namespace lm::chat
