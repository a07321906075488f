#include "engine/cli/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "engine/cli/exit_status.h"
#include "engine/core/text.h"

namespace lm::cli {
namespace {

Error usage_error(std::string message) {
  return Error{ErrorCode::bad_request, std::move(message)};
}

constexpr std::string_view kOn = "on", kOff = "off";

// What a flag is: kOn or kOff.
Result<std::string_view> flag_value(std::string_view text) {
  for (const std::string_view yes : {"1", "true", "on", "yes"}) {
    if (text == yes) return kOn;
  }
  for (const std::string_view no : {"0", "false", "off", "no"}) {
    if (text == no) return kOff;
  }
  return usage_error(concat("expected on or off, found \"", printable(text), "\""));
}

// "error, shift or off".
std::string listed(const std::vector<std::string>& words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 < words.size() ? ", " : " or ";
    text += words[i];
  }
  return text;
}

OptionSpec make_spec(std::string_view group, std::string_view names, std::string_view value,
                     std::string_view help) {
  OptionSpec spec{.group = std::string(group),
                  .short_name = "",
                  .long_name = "",
                  .value = std::string(value),
                  .help = std::string(help)};
  while (!names.empty()) {
    const size_t end = std::min(names.find(','), names.size());
    const std::string_view name = names.substr(0, end);
    (name.starts_with("--") ? spec.long_name : spec.short_name) = name;
    names.remove_prefix(std::min(end + 1, names.size()));
  }
  return spec;
}

}  // namespace

struct Options::Impl {
  CLI::App app;
  std::string group = "Options";
  std::vector<OptionSpec> specs;
  std::vector<CLI::Option*> parsers;  // of specs[i]
  std::vector<Take> takers;
  std::vector<bool> is_set;      // from elsewhere than the command line
  std::optional<Error> mistake;  // the first value that was refused

  explicit Impl(std::string_view program) : app("", std::string(program)) {
    app.allow_extras();  // what is left over is reported in our own words
    app.set_help_flag("-h,--help", "");
  }

  // What --help lists of a command; `names` is empty for a word.
  void declare(std::string_view names, std::string_view value, Take take, std::string_view help) {
    const size_t index = specs.size();
    specs.push_back(make_spec(names.empty() ? "Arguments" : group, names, value, help));
    takers.push_back(std::move(take));
    is_set.push_back(false);
    // CLI11 hands over the raw words; the taker gives each its meaning.
    const CLI::callback_t parse = [this, index](const CLI::results_t& words) {
      for (const std::string& word : words) {
        Status status = set(index, word);
        if (!status.ok() && !mistake) {
          const OptionSpec& spec = specs[index];
          mistake = std::move(status).error();
          if (!spec.is_word()) mistake = std::move(*mistake).within(spec.name());
        }
      }
      return true;
    };
    const std::string known_as = names.empty() ? concat("word", index) : std::string(names);
    if (specs.back().is_flag()) {
      parsers.push_back(app.add_flag_callback(known_as, [parse] { parse({std::string(kOn)}); }));
    } else {
      parsers.push_back(app.add_option(known_as, parse));
      parsers.back()->expected(1)->allow_extra_args(false);
      parsers.back()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    }
  }

  Status set(size_t index, std::string_view word) {
    const OptionSpec& spec = specs[index];
    if (spec.is_flag()) return takers[index](LM_TRY(flag_value(word)));
    if (spec.is_closed()) {
      const std::vector<std::string> allowed = spec.alternatives();
      if (std::ranges::find(allowed, word) == allowed.end()) {
        return usage_error(
            concat("expected ", listed(allowed), ", found \"", printable(word), "\""));
      }
    }
    return takers[index](word);
  }

  bool takes_value(const std::string& name) const {
    const CLI::Option* option = app.get_option_no_throw(name);
    return option != nullptr && option->get_expected_min() > 0;
  }

  // "--quiet=off" becomes what CLI11 calls it, and what is neither on nor off is a mistake.
  std::string with_flag_value(const std::string& word) {
    const std::string name = word.substr(0, word.find('='));
    const auto spec = std::ranges::find(specs, name, &OptionSpec::long_name);
    if (name == word || spec == specs.end() || !spec->is_flag()) return word;
    const Result<std::string_view> value = flag_value(word.substr(name.size() + 1));
    if (!value.ok() && !mistake) mistake = Error(value.error()).within(name);
    return name + (value.ok() && value.value() == kOff ? "=false" : "=true");
  }

  // CLI11 reads "--stop=" as "--stop", and would take the next word for its value.
  std::vector<std::string> with_empty_values(const std::vector<std::string>& arguments) {
    std::vector<std::string> words;
    for (size_t i = 0; i < arguments.size(); ++i) {
      const std::string& word = arguments[i];
      if (word == "--") {  // what follows are words, whatever they look like
        words.insert(words.end(), arguments.begin() + ptrdiff_t(i), arguments.end());
        break;
      }
      if (word.starts_with("--") && word.ends_with('=') &&
          takes_value(word.substr(0, word.size() - 1))) {
        words.insert(words.end(), {word.substr(0, word.size() - 1), ""});
        continue;
      }
      words.push_back(with_flag_value(word));
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
  const Take take = [&target](std::string_view word) {
    target = word == kOn;
    return ok();
  };
  impl_->declare(names, "", take, help);
}

void Options::text(std::string_view names, std::string_view value,
                   std::optional<std::string>& target, std::string_view help) {
  const Take take = [&target](std::string_view word) {
    target = std::string(word);
    return ok();
  };
  impl_->declare(names, value, take, help);
}

void Options::integer(std::string_view names, std::string_view value, int& target, int64_t least,
                      int64_t most, std::string_view help) {
  const Take take = [&target, least, most](std::string_view word) -> Status {
    target = int(LM_TRY(integer_in(word, least, most)));
    return ok();
  };
  impl_->declare(names, value, take, help);
}

void Options::value(std::string_view names, std::string_view value, Take take,
                    std::string_view help) {
  impl_->declare(names, value, std::move(take), help);
}

void Options::each(std::string_view names, std::string_view value, Take take,
                   std::string_view help) {
  impl_->declare(names, value, std::move(take), help);
  impl_->parsers.back()->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  impl_->specs.back().repeatable = true;
}

void Options::word(std::string_view value, std::optional<std::string>& target,
                   std::string_view help) {
  text("", value, target, help);
}

void Options::setting(Origin farthest) {
  impl_->specs.back().origin = farthest;
}

void Options::suggest(std::vector<std::string> values) {
  impl_->specs.back().suggestions = std::move(values);
}

const std::string& Options::program() const {
  return impl_->app.get_name();
}

const std::vector<OptionSpec>& Options::specs() const {
  return impl_->specs;
}

bool Options::given(size_t index) const {
  return impl_->is_set[index] || impl_->parsers[index]->count() > 0;
}

Status Options::set(size_t index, std::string_view value) {
  LM_TRY(impl_->set(index, value));
  impl_->is_set[index] = true;
  return ok();
}

Result<bool> Options::parse(const std::vector<std::string>& arguments) {
  const auto explain = [this](Error error) {
    return with_hint(std::move(error), concat("\"", program(), " --help\" lists what it takes"));
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
  std::vector<std::string> left = impl_->app.remaining();
  if (!left.empty() && left.front() == "--") left.erase(left.begin());  // it only ends the options
  if (!left.empty()) {
    return explain(usage_error(concat("expected an option of \"", program(), "\", found \"",
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

}  // namespace lm::cli
