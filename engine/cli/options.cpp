#include "engine/cli/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "engine/cli/exit_status.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

constexpr size_t kHelpColumn = 30, kHelpWidth = 100;

Error usage_error(std::string message) {
  return Error{ErrorCode::bad_request, std::move(message)};
}

}  // namespace

struct Options::Impl {
  struct Row {
    std::string group, names, value_name, help;
    bool is_word;
  };

  CLI::App app;
  CLI::Option* last = nullptr;
  std::string group = "Options";
  std::vector<Row> rows;         // for --help
  std::optional<Error> mistake;  // the first value that was refused

  explicit Impl(std::string_view program) : app("", std::string(program)) {
    app.allow_extras();  // what is left over is reported in our own words
    app.set_help_flag("-h,--help", "");
  }

  // CLI11 hands over the raw words; `take` gives each its meaning.
  void add(const Row& row, Take take, CLI::MultiOptionPolicy policy) {
    const size_t comma = row.names.rfind(',');
    const std::string shown = row.names.substr(comma == std::string::npos ? 0 : comma + 1);
    last = app.add_option(row.names,
                          [this, shown, take = std::move(take)](const CLI::results_t& words) {
                            for (const std::string& word : words) {
                              Status status = take(word);
                              if (!status.ok() && !mistake)
                                mistake = std::move(status).error().within(shown);
                            }
                            return true;
                          });
    last->expected(1)->multi_option_policy(policy)->allow_extra_args(false);
    rows.push_back(row);
  }

  bool takes_value(const std::string& name) const {
    const CLI::Option* option = app.get_option_no_throw(name);
    return option != nullptr && option->get_expected_min() > 0;
  }

  // CLI11 reads "--stop=" as "--stop", and would take the next word for its value.
  std::vector<std::string> with_empty_values(const std::vector<std::string>& arguments) const {
    std::vector<std::string> words;
    for (size_t i = 0; i < arguments.size(); ++i) {
      const std::string& word = arguments[i];
      if (word.starts_with("--") && word.ends_with('=') &&
          takes_value(word.substr(0, word.size() - 1))) {
        words.insert(words.end(), {word.substr(0, word.size() - 1), ""});
        continue;
      }
      words.push_back(word);
      if (word.starts_with('-') && takes_value(word) && i + 1 < arguments.size())
        words.push_back(arguments[++i]);
    }
    return words;
  }
};

Options::Options(std::string_view program) : impl_(std::make_unique<Impl>(program)) {}
Options::~Options() = default;

void Options::group(std::string_view title) {
  impl_->group = title;
}

void Options::flag(std::string_view names, bool& target, std::string_view help) {
  impl_->last = impl_->app.add_flag_callback(std::string(names), [&target] { target = true; });
  impl_->rows.push_back({impl_->group, std::string(names), "", std::string(help), false});
}

void Options::text(std::string_view names, std::string_view value_name,
                   std::optional<std::string>& target, std::string_view help) {
  value(
      names, value_name,
      [&target](std::string_view word) {
        target = std::string(word);
        return ok();
      },
      help);
}

void Options::integer(std::string_view names, std::string_view value_name, int& target,
                      int64_t least, int64_t most, std::string_view help) {
  value(
      names, value_name,
      [&target, least, most](std::string_view word) -> Status {
        target = int(LM_TRY(integer_in(word, least, most)));
        return ok();
      },
      help);
}

void Options::value(std::string_view names, std::string_view value_name, Take take,
                    std::string_view help) {
  impl_->add({impl_->group, std::string(names), std::string(value_name), std::string(help), false},
             std::move(take), CLI::MultiOptionPolicy::TakeLast);
}

void Options::each(std::string_view names, std::string_view value_name, Take take,
                   std::string_view help) {
  impl_->add({impl_->group, std::string(names), std::string(value_name), std::string(help), false},
             std::move(take), CLI::MultiOptionPolicy::TakeAll);
}

void Options::word(std::string_view value_name, std::optional<std::string>& target,
                   std::string_view help) {
  impl_->add(
      {"Arguments", std::string(value_name), "", std::string(help), true},
      [&target](std::string_view word) {
        target = std::string(word);
        return ok();
      },
      CLI::MultiOptionPolicy::TakeLast);
}

void Options::environment(std::string_view variable) {
  impl_->last->envname(std::string(variable));
  impl_->rows.back().help += concat(" (default: $", variable, ")");
}

std::string Options::help() const {
  std::string text = concat("Usage: ", impl_->app.get_name(), " [OPTION]...");
  for (const Impl::Row& row : impl_->rows) {
    if (row.is_word) text += " " + row.names;
  }
  text += "\n";
  std::string_view group;
  for (const Impl::Row& row : impl_->rows) {
    if (row.group != group) text += concat("\n", row.group, ":\n");
    group = row.group;
    const size_t comma = row.names.find(',');
    std::string left = row.names.starts_with("--") ? "    " : "";
    left += comma == std::string::npos
                ? row.names
                : concat(row.names.substr(0, comma), ", ", row.names.substr(comma + 1));
    if (!row.value_name.empty()) left += " " + row.value_name;
    text += help_row(left, row.help);
  }
  return text + "\n" + help_row("-h, --help", "this help");
}

Result<bool> Options::parse(const std::vector<std::string>& arguments) {
  const std::string& program = impl_->app.get_name();
  const auto explain = [&](Error error) {
    return with_hint(std::move(error), concat("\"", program, " --help\" lists what it takes"));
  };
  std::vector<std::string> words = impl_->with_empty_values(arguments);
  std::reverse(words.begin(), words.end());  // CLI11 takes the last one first
  try {
    impl_->app.parse(std::move(words));
  } catch (const CLI::CallForHelp&) {
    return true;
  } catch (const CLI::ArgumentMismatch& e) {  // "--prompt: 1 required TEXT missing"
    const std::string_view what = e.what();
    return explain(usage_error(concat("expected a value after ", what.substr(0, what.find(':')),
                                      ", found the end of the command line")));
  } catch (const CLI::ParseError& e) {
    return explain(usage_error(concat("on the command line: ", e.what())));
  }
  const std::vector<std::string> left = impl_->app.remaining();
  if (!left.empty()) {
    return explain(usage_error(concat("expected an option of \"", program, "\", found \"",
                                      printable(left.front()), "\"")));
  }
  if (impl_->mistake) return explain(*impl_->mistake);
  return false;
}

Result<int64_t> integer_in(std::string_view text, int64_t least, int64_t most) {
  const std::optional<int64_t> number = parse_int(text);
  if (number && *number >= least && *number <= most) return *number;
  return usage_error(concat("expected a whole number from ", least, " to ", most, ", found \"",
                            printable(text), "\""));
}

Result<double> number_in(std::string_view text, double least, double most) {
  const std::optional<double> number = parse_double(text);
  if (number && *number >= least && *number <= most) return *number;
  return usage_error(
      concat("expected a number from ", least, " to ", most, ", found \"", printable(text), "\""));
}

std::string help_row(std::string_view left, std::string_view right) {
  std::string text = concat("  ", left);
  text.resize(std::max(text.size() + 2, kHelpColumn), ' ');
  for (size_t column = text.size(); !right.empty();) {
    const size_t end = std::min(right.find(' '), right.size());
    if (column + end > kHelpWidth && column > kHelpColumn) {
      text.back() = '\n';
      text.append(kHelpColumn, ' ');
      column = kHelpColumn;
    }
    text += concat(right.substr(0, end), " ");
    column += end + 1;
    right.remove_prefix(std::min(end + 1, right.size()));
  }
  text.back() = '\n';
  return text;
}

}  // namespace lm::cli
