#include "engine/cli/line_editor.h"

#include <histedit.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "engine/cli/key_reader.h"
#include "engine/cli/output.h"
#include "engine/cli/terminal.h"
#include "engine/core/utf8.h"

namespace lm::cli {
namespace {

constexpr int kHistoryLines = 1000;
constexpr char32_t kCtrlC = 3, kCtrlZ = 26;
constexpr std::string_view kPasteModeOn = "\x1b[?2004h", kPasteModeOff = "\x1b[?2004l";

std::wstring to_wide(std::string_view text) {
  std::wstring wide;
  while (!text.empty()) {
    const utf8::Decoded d = utf8::decode(text);
    wide += wchar_t(d.code_point);
    text.remove_prefix(size_t(d.length));
  }
  return wide;
}

std::string from_wide(std::wstring_view wide) {
  std::string text;
  for (const wchar_t c : wide) utf8::append(text, char32_t(c));
  return text;
}

// libedit writes characters the way the locale says, and knows their widths from it.
void use_utf8() {
  for (const char* name : {"C.UTF-8", "", "en_US.UTF-8"}) {
    if (std::setlocale(LC_CTYPE, name) != nullptr && MB_CUR_MAX > 1) return;
  }
}

}  // namespace

struct LineEditor::Impl {
  Impl(Signals& signals_, Complete names)
      : signals(signals_), keys(STDIN_FILENO, signals_), complete(std::move(names)) {}
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  bool start();
  void forget_insertion();
  void bind_keys();
  void set_paste_mode(bool on);
  void suspend();
  void follow_resizing();

  // What libedit calls: the first argument leads to the editor.
  static Impl& of(EditLine* editor);
  static wchar_t* prompt_of(EditLine* editor) { return of(editor).prompt.data(); }
  static int next_key(EditLine* editor, wchar_t* key);
  static unsigned char insert_newline(EditLine* editor, wint_t);
  static unsigned char insert_paste(EditLine* editor, wint_t);
  static unsigned char complete_word(EditLine* editor, wint_t);

  Signals& signals;
  KeyReader keys;
  Complete complete;
  winsize size{};  // that libedit knows
  EditLine* edit = nullptr;
  HistoryW* history = nullptr;
  FILE* nowhere = nullptr;  // for what libedit has to say of terminals that it does not know
  std::wstring prompt;
  bool interrupted = false;
  Output screen;
};

LineEditor::Impl::~Impl() {
  if (edit != nullptr) el_end(edit);
  if (history != nullptr) history_wend(history);
  if (nowhere != nullptr) (void)std::fclose(nowhere);
}

LineEditor::Impl& LineEditor::Impl::of(EditLine* editor) {
  void* self = nullptr;
  el_wget(editor, EL_CLIENTDATA, &self);
  return *static_cast<Impl*>(self);
}

bool LineEditor::Impl::start() {
  use_utf8();
  nowhere = std::fopen("/dev/null", "we");
  if (nowhere == nullptr) return false;
  edit = el_init_fd("llm", stdin, stdout, nowhere, STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO);
  history = history_winit();
  if (edit == nullptr || history == nullptr) return false;
  HistEventW event;
  history_w(history, &event, H_SETSIZE, kHistoryLines);
  history_w(history, &event, H_SETUNIQUE, 1);
  el_wset(edit, EL_CLIENTDATA, this);
  el_wset(edit, EL_SIGNAL, 0);
  el_wset(edit, EL_EDITOR, L"emacs");
  el_wset(edit, EL_HIST, history_w, history);
  el_wset(edit, EL_PROMPT, &Impl::prompt_of);
  el_wset(edit, EL_GETCFN, &Impl::next_key);
  el_wset(edit, EL_SETTY, L"-d", L"-isig", nullptr);  // Ctrl-C and Ctrl-Z are keys
  forget_insertion();
  bind_keys();
  el_source(edit, nullptr);  // the user's .editrc
  return true;
}

// libedit loses count of columns where it has the terminal make room before a wide character, or
// take one out. Without these capabilities it writes the rest of the line again.
void LineEditor::Impl::forget_insertion() {
  for (const wchar_t* name : {L"ic", L"IC", L"im", L"ei", L"dc", L"DC", L"dm", L"ed"}) {
    el_wset(edit, EL_SETTC, name, L"", nullptr);
  }
}

void LineEditor::Impl::bind_keys() {
  el_wset(edit, EL_ADDFN, L"llm-newline", L"begin a new line of the message",
          &Impl::insert_newline);
  el_wset(edit, EL_ADDFN, L"llm-paste", L"insert pasted text as it is", &Impl::insert_paste);
  el_wset(edit, EL_ADDFN, L"llm-complete", L"complete a command", &Impl::complete_word);
  constexpr std::pair<const wchar_t*, const wchar_t*> kBindings[] = {
      {L"\\e\\r", L"llm-newline"},    {L"\\e\\n", L"llm-newline"},
      {L"\\e[200~", L"llm-paste"},    {L"\\t", L"llm-complete"},
      {L"^R", L"em-inc-search-prev"}, {L"\\e[1;5C", L"em-next-word"},
      {L"\\e[1;5D", L"ed-prev-word"}, {L"\\e[1;3C", L"em-next-word"},
      {L"\\e[1;3D", L"ed-prev-word"}, {L"\\e[3~", L"ed-delete-next-char"},
      {L"\\e[H", L"ed-move-to-beg"},  {L"\\e[F", L"ed-move-to-end"},
      {L"\\e[1~", L"ed-move-to-beg"}, {L"\\e[4~", L"ed-move-to-end"},
      {L"\\eOH", L"ed-move-to-beg"},  {L"\\eOF", L"ed-move-to-end"},
  };
  for (const auto& [keys_, function] : kBindings) el_wset(edit, EL_BIND, keys_, function, nullptr);
}

// Pasted text comes between marks.
void LineEditor::Impl::set_paste_mode(bool on) {
  if (terminal_is_clever()) screen.write(on ? kPasteModeOn : kPasteModeOff);
}

// As a shell's job: the terminal is the shell's until we come back.
void LineEditor::Impl::suspend() {
  set_paste_mode(false);
  el_wset(edit, EL_PREP_TERM, 0);
  (void)raise(SIGTSTP);
  el_wset(edit, EL_PREP_TERM, 1);
  set_paste_mode(true);
  el_wset(edit, EL_REFRESH);
}

void LineEditor::Impl::follow_resizing() {
  winsize now{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &now) != 0) return;
  if (now.ws_col == size.ws_col && now.ws_row == size.ws_row) return;
  size = now;
  el_resize(edit);
}

int LineEditor::Impl::next_key(EditLine* editor, wchar_t* key) {
  Impl& self = of(editor);
  while (const std::optional<char32_t> c = self.keys.next()) {
    self.follow_resizing();
    if (*c == kCtrlZ) {
      self.suspend();
      continue;
    }
    if (*c == kCtrlC) {
      self.interrupted = true;
      return -1;
    }
    *key = wchar_t(*c);
    return 1;
  }
  return self.keys.end() == KeyReader::End::input ? 0 : -1;
}

unsigned char LineEditor::Impl::insert_newline(EditLine* editor, wint_t) {
  return el_winsertstr(editor, L"\n") == 0 ? CC_REFRESH : CC_ERROR;
}

unsigned char LineEditor::Impl::insert_paste(EditLine* editor, wint_t) {
  const std::string text = of(editor).keys.rest_of_paste();
  return el_winsertstr(editor, to_wide(text).c_str()) == 0 ? CC_REFRESH : CC_ERROR;
}

unsigned char LineEditor::Impl::complete_word(EditLine* editor, wint_t) {
  const LineInfoW* line = el_wline(editor);
  const std::string before = from_wide({line->buffer, size_t(line->cursor - line->buffer)});
  const std::vector<std::string_view> names = of(editor).complete(before);
  if (names.empty()) {
    return before.starts_with('/') ? CC_ERROR
                                   : (el_winsertstr(editor, L"\t") == 0 ? CC_REFRESH : CC_ERROR);
  }
  std::string_view common = names.front();
  for (const std::string_view name : names) {
    size_t n = 0;
    while (n < common.size() && n < name.size() && common[n] == name[n]) ++n;
    common = common.substr(0, n);
  }
  std::string rest(common.substr(before.size() - 1));
  if (names.size() == 1) rest += ' ';
  if (rest.empty()) return CC_ERROR;
  return el_winsertstr(editor, to_wide(rest).c_str()) == 0 ? CC_REFRESH : CC_ERROR;
}

LineEditor::LineEditor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LineEditor::~LineEditor() = default;

Result<std::unique_ptr<LineEditor>> LineEditor::open(Signals& signals, Complete complete) {
  auto impl = std::make_unique<Impl>(signals, std::move(complete));
  if (!impl->start()) {
    return Error{ErrorCode::io, "expected a terminal that can be typed into, found none"};
  }
  return std::unique_ptr<LineEditor>(new LineEditor(std::move(impl)));
}

TypedLine LineEditor::read(std::string_view prompt) {
  Impl& self = *impl_;
  self.prompt = to_wide(prompt);
  self.interrupted = false;
  self.keys.restart();
  self.follow_resizing();
  self.set_paste_mode(true);
  el_wset(self.edit, EL_PREP_TERM, 1);  // before the prompt is seen: no key goes astray
  int n = 0;
  const wchar_t* line = el_wgets(self.edit, &n);
  self.set_paste_mode(false);
  if (line != nullptr && n > 0) {
    std::string text = from_wide({line, size_t(n)});
    if (text.ends_with('\n')) text.pop_back();
    return {TypedLine::Kind::text, std::move(text)};
  }
  if (self.interrupted) return {TypedLine::Kind::interrupted, ""};
  if (self.keys.end() == KeyReader::End::signal) {
    if (pending_signal() != SIGINT) return {TypedLine::Kind::signal, ""};
    self.signals.forget();  // from elsewhere, but it means the same
    return {TypedLine::Kind::interrupted, ""};
  }
  return {TypedLine::Kind::end, ""};
}

void LineEditor::remember(std::string_view text) {
  HistEventW event;
  history_w(impl_->history, &event, H_ENTER, to_wide(text).c_str());
}

}  // namespace lm::cli
