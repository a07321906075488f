#include "engine/cli/chat_record.h"

#include <utility>

#include "engine/cli/terminal.h"
#include "engine/core/file.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

std::string damage_of(const chat::Transcript& transcript, std::string_view name) {
  if (transcript.damaged_lines == 0) return "";
  return concat(printable(name, 1000), ": ", transcript.damaged_lines,
                transcript.damaged_lines == 1 ? " line is" : " lines are",
                " damaged and left out, the first is line ", transcript.first_damaged);
}

}  // namespace

ChatRecord::ChatRecord(std::optional<chat::Store> store)
    : store_(std::move(store)), created_(chat::time_text()) {}

void ChatRecord::say(chat::Message message) {
  keep(chat::message_line(conversation_.say(std::move(message))));
}

void ChatRecord::set_system(std::optional<std::string> text) {
  conversation_.set_system(std::move(text));
  if (file_) keep(chat::system_line(conversation_.system()));
}

bool ChatRecord::go_to(int id) {
  if (!conversation_.go_to(id)) return false;
  if (file_) keep(chat::position_line(id));
  return true;
}

void ChatRecord::start_new() {
  const std::optional<std::string> system = conversation_.system();
  conversation_ = {};
  conversation_.set_system(system);
  created_ = chat::time_text();
  file_.reset();
}

// A conversation without a file gets one, with all of it.
void ChatRecord::keep(std::string_view lines) {
  if (!store_) return;
  Status kept = ok();
  if (file_) {
    kept = file_->append(lines);
  } else {
    Result<chat::ConversationFile> created = store_->create(created_);
    if (created.ok()) {
      file_ = std::move(created).value();
      kept = file_->append(chat::body_lines(conversation_));
    } else {
      kept = std::move(created).error();
    }
  }
  if (kept.ok()) return;
  warn(concat("this conversation is no longer kept: ", kept.error().message));
  store_.reset();
  file_.reset();
}

Result<std::string> ChatRecord::open(std::string_view id) {
  if (!store_) {
    return Error{ErrorCode::bad_request, "expected a kept conversation, but none are kept here"};
  }
  if (file_ && file_->id() == id) return std::string();  // it is the one at hand
  chat::Opened opened = LM_TRY(store_->open(id));
  conversation_ = std::move(opened.transcript.conversation);
  created_ = std::move(opened.transcript.created);
  file_ = std::move(opened.file);
  return damage_of(opened.transcript, file_->path().native());
}

Result<std::string> ChatRecord::open_last() {
  if (!store_) {
    return Error{ErrorCode::bad_request, "expected a kept conversation, but none are kept here"};
  }
  return open(LM_TRY(store_->newest()));
}

Result<std::string> ChatRecord::open_file(const std::string& path) {
  Result<chat::Transcript> read =
      chat::read_transcript(LM_TRY(read_file(path, chat::kMaxTranscriptBytes)));
  if (!read.ok()) return std::move(read).error().within(printable(path, 1000));
  conversation_ = std::move(read.value().conversation);
  created_ = std::move(read.value().created);
  file_.reset();
  return damage_of(read.value(), path);
}

Status ChatRecord::save(const std::string& path) const {
  FileWriter writer = LM_TRY(FileWriter::create(path));
  if (path.ends_with(".md")) {
    LM_TRY(writer.write(chat::as_markdown(conversation_)));
  } else {
    LM_TRY(writer.write(chat::header_line(created_) + chat::body_lines(conversation_)));
  }
  return writer.commit();
}

}  // namespace lm::cli
