// llm chat — the terminal chat by name, and the list of what was kept of earlier ones.
#include <cstdlib>

#include "engine/chat/store.h"
#include "engine/cli/chat.h"
#include "engine/cli/terminal.h"
#include "engine/core/json.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

class ChatCommand final : public Command {
 public:
  std::string_view name() const override { return "chat"; }
  std::string_view summary() const override { return "talk with a model, in a terminal"; }

  void declare(Options& options) override {
    options.group("Conversation");
    options.text("-p,--prompt", "TEXT", first_, "a first question");
    generation_.declare_prompt(options);
    options.flag("--list", list_, "the conversations that were kept, the last one at the end");
    options.flag("--json", json_, "with --list: as JSON");
    chat_.declare(options);
    generation_.declare(options);
    options.group("Output");
    options.flag("-q,--quiet", generation_.quiet, "no status lines and no warnings");
    options.setting();
  }

  Result<ExitStatus> run(const Context& context) override {
    if (list_) return list(context);
    if (json_) return Error{ErrorCode::bad_request, "expected --json with --list, found it alone"};
    if (!can_chat()) {
      return with_hint(Error{ErrorCode::bad_request, "expected a terminal to talk in, found none"},
                       "llm -p \"TEXT\" answers one question anywhere");
    }
    return chat(context, generation_, chat_, first_);
  }

 private:
  Result<ExitStatus> list(const Context& context) const {
    const chat::Store store(chat::data_folder(std::getenv("XDG_DATA_HOME"), std::getenv("HOME")));
    Json array = Json::array();
    for (const chat::Listed& kept : LM_TRY(store.list())) {
      if (json_) {
        Json& entry = array.emplace_back(Json{{"id", kept.id}});
        if (kept.damage.empty()) {
          entry.update(Json{
              {"created", kept.created}, {"messages", kept.n_messages}, {"title", kept.title}});
        } else {
          entry["damage"] = kept.damage;
        }
      } else if (kept.damage.empty()) {
        context.out.write(concat(kept.id, "  ", kept.n_messages, " messages  ",
                                 printable(kept.title.substr(0, kept.title.find('\n')), 60), "\n"));
      } else {
        warn(concat(kept.id, ": ", kept.damage));
      }
    }
    if (json_) context.out.write(dump_json(array) + "\n");
    return ExitStatus::ok;
  }

  GenerationOptions generation_;
  ChatOptions chat_;
  std::optional<std::string> first_;
  bool list_ = false, json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_chat_command() {
  return std::make_unique<ChatCommand>();
}

}  // namespace lm::cli
