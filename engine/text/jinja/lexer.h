// engine/text/jinja/lexer.h — a template's source as tokens. Whitespace control happens here, with
// the settings that Hugging Face uses: trim_blocks (the newline after a block tag goes),
// lstrip_blocks (so does the space before one that starts its line), and no newline at the end.
// Source: the Jinja documentation, "Whitespace Control".
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/result.h"

namespace lm::jinja {

struct Token {
  enum class Kind {
    data,            // text between tags
    block_begin,     // {%
    block_end,       // %}
    variable_begin,  // {{
    variable_end,    // }}
    name,
    string,  // its value, unescaped
    integer,
    real,
    op,
    end
  };
  Kind kind;
  std::string text;  // integer and real: as written, without '_'
  int line;
};

Error syntax_error(int line, std::string_view message);

// The last token is `end`.
Result<std::vector<Token>> tokenize(std::string_view source);

}  // namespace lm::jinja
