// engine/cli/generate.h — runs one request and hands its tokens on as they come. The engine speaks
// on its own thread; here the thread that owns stdout takes what it said, and listens to signals.
#pragma once
#include "engine/cli/answer.h"
#include "engine/cli/asker.h"
#include "engine/cli/command.h"
#include "engine/core/result.h"
#include "engine/runtime/engine.h"

namespace lm::cli {

// Submits the question and returns when it has finished: by itself, after a signal, or because
// nobody reads the output any more. Error: the request was refused, and the answer never began.
Result<AnswerEnd> generate(Engine& engine, Question question, Answer& answer,
                           const Context& context);

}  // namespace lm::cli
