// engine/core/result.h — how this program says "no".
// A Result is returned for anything the outside world can cause: a bad file, a bad request, a full
// device, a cancelled call. LM_CHECK (check.h) is for what only we can cause: it prints file:line
// and aborts.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace lm {

enum class ErrorCode {
  bad_file,       // missing, damaged or not what it says it is
  unsupported,    // well-formed, but nothing here can run it
  bad_request,    // a parameter that the caller chose is out of its range
  context_full,   // the tokens do not fit the context
  out_of_memory,  // host or device memory
  io,             // a read or write that failed half-way
  cancelled,
  busy,  // too much is asked for at once: later it may work
  device,
};

struct [[nodiscard]] Error {
  ErrorCode code;
  std::string message;  // one sentence: what was expected, what was found, where

  // The same error, seen from one level up: "where: message".
  Error within(std::string_view where) && {
    message.insert(0, std::string(where) + ": ");
    return std::move(*this);
  }
};

template <class T = std::monostate>
class [[nodiscard]] Result {
 public:
  Result(T value)  // NOLINT(google-explicit-constructor): return value;
      : v_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error)  // NOLINT(google-explicit-constructor): return error;
      : v_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return v_.index() == 0; }
  T& value() & { return std::get<0>(v_); }
  const T& value() const& { return std::get<0>(v_); }
  T&& value() && { return std::get<0>(std::move(v_)); }
  const Error& error() const& { return std::get<1>(v_); }
  Error&& error() && { return std::get<1>(std::move(v_)); }

 private:
  std::variant<T, Error> v_;
};

using Status = Result<>;
inline Status ok() {
  return std::monostate{};
}

// auto file = LM_TRY(gguf::File::open(path));   // returns the Error from here on failure
// __COUNTER__ makes each use unique, so that uses nest without shadowing.
#define LM_CAT_IMPL(a, b) a##b
#define LM_CAT(a, b) LM_CAT_IMPL(a, b)
#define LM_TRY_IMPL(var, expr)       \
  (__extension__({                   \
    auto var = (expr);               \
    if (!var.ok()) [[unlikely]]      \
      return std::move(var).error(); \
    std::move(var).value();          \
  }))
#define LM_TRY(expr) LM_TRY_IMPL(LM_CAT(lm_try_, __COUNTER__), expr)

}  // namespace lm
