// Arguments of filters, methods and functions, by parameter.
#include "engine/core/text.h"
#include "engine/text/jinja/library.h"

namespace lm::jinja {

Result<Bound> bind(std::string_view callee, const CallArguments& arguments,
                   std::initializer_list<std::string_view> parameters, size_t required) {
  if (arguments.positional.size() > parameters.size()) {
    return template_error(concat("expected at most ", parameters.size(), " arguments for \"",
                                 callee, "\", found ", arguments.positional.size()));
  }
  Bound bound(parameters.size());
  for (size_t i = 0; i < arguments.positional.size(); ++i) bound[i] = arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    size_t i = 0;
    for (const std::string_view parameter : parameters) {
      if (parameter == name) break;
      ++i;
    }
    if (i == parameters.size()) {
      return template_error(
          concat("\"", callee, "\" has no parameter \"", printable(name, 60), "\""));
    }
    bound[i] = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (bound[i]) continue;
    return template_error(concat("expected an argument \"", *(parameters.begin() + long(i)),
                                 "\" for \"", callee, "\", found none"));
  }
  return bound;
}

Result<int64_t> integer_or(const std::optional<Value>& argument, int64_t otherwise) {
  if (!argument) return otherwise;
  if (argument->is_whole()) return argument->as_integer();
  return template_error(concat("expected an integer as argument, found ", kind_name(*argument)));
}

Result<bool> boolean_or(const std::optional<Value>& argument, bool otherwise) {
  return argument ? argument->truth() : otherwise;
}

Result<Text> text_or(Meter& meter, const std::optional<Value>& argument,
                     std::string_view otherwise) {
  if (!argument) return Text(std::string(otherwise));
  if (!argument->is_string()) {
    return template_error(concat("expected a string as argument, found ", kind_name(*argument)));
  }
  LM_TRY(meter.memory(argument->as_text().cost()));
  return argument->as_text();
}

}  // namespace lm::jinja
