// Statements: what stands between {% and %}.
#include <algorithm>

#include "engine/core/text.h"
#include "engine/text/jinja/parser.h"

namespace lm::jinja {
namespace {

using Kind = Statement::Kind;
using Words = std::initializer_list<std::string_view>;

class StatementParser {
 public:
  explicit StatementParser(std::vector<Token> tokens)
      : tokens_(std::move(tokens)), expressions_(tokens_) {}

  Result<Block> run() {
    Block block = LM_TRY(block_until({}));
    if (tokens_.current().kind != Token::Kind::end) return tokens_.unexpected("a statement");
    return block;
  }

 private:
  // Statements up to a tag that begins with one of `ends`, whose word is left as the next token;
  // with no ends, up to the end of the template.
  Result<Block> block_until(Words ends);
  // The same, then takes the tag, which must be `end`.
  Result<Block> body(std::string_view end);
  Result<Statement> statement();
  Result<Statement> branch(int line);
  Result<Statement> loop(int line);
  Result<Statement> assign(int line);
  Result<Statement> macro(int line);
  Result<Statement> call_block(int line);
  Result<Statement> filter_block(int line);
  Result<Statement> with(int line);
  Result<Statement> plain_block(int line, std::string_view end);
  Result<std::vector<Parameter>> parameters();
  Status end_tag() { return tokens_.expect(Token::Kind::block_end); }

  TokenStream tokens_;
  ExpressionParser expressions_;
  int depth_ = 0;
  int loops_ = 0;  // around the current statement
};

bool is_one_of(const Token& token, Words words) {
  return token.kind == Token::Kind::name &&
         std::find(words.begin(), words.end(), token.text) != words.end();
}

Result<Block> StatementParser::block_until(Words ends) {
  if (++depth_ > kMaxSourceDepth) {
    return syntax_error(tokens_.line(),
                        concat("expected blocks at most ", kMaxSourceDepth, " inside each other"));
  }
  Block block;
  while (tokens_.current().kind != Token::Kind::end) {
    const Token tag = tokens_.take();
    if (tag.kind == Token::Kind::data) {
      block.push_back({.kind = Kind::data, .line = tag.line, .value = Value::text(tag.text)});
    } else if (tag.kind == Token::Kind::variable_begin) {
      Statement output{.kind = Kind::output, .line = tag.line};
      output.expression = LM_TRY(expressions_.tuple());
      LM_TRY(tokens_.expect(Token::Kind::variable_end));
      block.push_back(std::move(output));
    } else {
      if (is_one_of(tokens_.current(), ends)) {
        --depth_;
        return block;
      }
      block.push_back(LM_TRY(statement()));
    }
  }
  if (ends.size() > 0) return tokens_.unexpected(concat("{% ", *(ends.end() - 1), " %}"));
  --depth_;
  return block;
}

Result<Block> StatementParser::body(std::string_view end) {
  Block block = LM_TRY(block_until({end}));
  tokens_.take();
  LM_TRY(end_tag());
  return block;
}

Result<Statement> StatementParser::statement() {
  const int line = tokens_.line();
  std::string name = LM_TRY(tokens_.expect_name());
  if (name == "if") return branch(line);
  if (name == "for") return loop(line);
  if (name == "set") return assign(line);
  if (name == "macro") return macro(line);
  if (name == "call") return call_block(line);
  if (name == "filter") return filter_block(line);
  if (name == "with") return with(line);
  if (name == "generation") return plain_block(line, "endgeneration");
  if (name == "break" || name == "continue") {
    if (loops_ == 0) return syntax_error(line, concat("expected \"", name, "\" inside a loop"));
    LM_TRY(end_tag());
    return Statement{.kind = name == "break" ? Kind::stop : Kind::next, .line = line};
  }
  return syntax_error(line, concat("expected a statement, found \"", printable(name, 40), "\""));
}

Result<Statement> StatementParser::branch(int line) {
  Statement node{.kind = Kind::branch, .line = line};
  while (true) {
    node.conditions.push_back(LM_TRY(expressions_.tuple(false)));
    LM_TRY(end_tag());
    node.bodies.push_back(LM_TRY(block_until({"elif", "else", "endif"})));
    if (!tokens_.accept_name("elif")) break;
  }
  if (tokens_.accept_name("else")) {
    LM_TRY(end_tag());
    node.bodies.push_back(LM_TRY(body("endif")));
    return node;
  }
  tokens_.take();
  LM_TRY(end_tag());
  return node;
}

Result<Statement> StatementParser::loop(int line) {
  Statement node{.kind = Kind::loop, .line = line};
  node.target = LM_TRY(expressions_.target());
  if (!tokens_.accept_name("in")) return tokens_.unexpected("\"in\"");
  node.expression = LM_TRY(expressions_.tuple(false));
  if (tokens_.accept_name("if")) node.filter = LM_TRY(expressions_.expression());
  node.recursive = tokens_.accept_name("recursive");
  LM_TRY(end_tag());
  ++loops_;
  node.bodies.push_back(LM_TRY(block_until({"else", "endfor"})));
  --loops_;
  if (tokens_.accept_name("else")) {
    LM_TRY(end_tag());
    node.bodies.push_back(LM_TRY(body("endfor")));
    return node;
  }
  tokens_.take();
  LM_TRY(end_tag());
  return node;
}

Result<Statement> StatementParser::assign(int line) {
  Statement node{.kind = Kind::assign, .line = line};
  node.target = LM_TRY(expressions_.target());
  if (tokens_.accept_op("=")) {
    node.expression = LM_TRY(expressions_.tuple());
    LM_TRY(end_tag());
    return node;
  }
  node.kind = Kind::assign_block;
  if (tokens_.is_op("|")) node.expression = LM_TRY(expressions_.filters(nullptr));
  LM_TRY(end_tag());
  node.bodies.push_back(LM_TRY(body("endset")));
  return node;
}

Result<std::vector<Parameter>> StatementParser::parameters() {
  std::vector<Parameter> list;
  LM_TRY(tokens_.expect_op("("));
  while (!tokens_.is_op(")")) {
    Parameter parameter{LM_TRY(tokens_.expect_name()), nullptr};
    if (tokens_.accept_op("=")) {
      parameter.preset = LM_TRY(expressions_.expression());
    } else if (!list.empty() && list.back().preset) {
      return tokens_.unexpected("\"=\": a parameter with a default comes before");
    }
    list.push_back(std::move(parameter));
    if (!tokens_.accept_op(",")) break;
  }
  LM_TRY(tokens_.expect_op(")"));
  return list;
}

Result<Statement> StatementParser::macro(int line) {
  Statement node{.kind = Kind::macro, .line = line};
  node.name = LM_TRY(tokens_.expect_name());
  node.parameters = LM_TRY(parameters());
  LM_TRY(end_tag());
  const int loops_outside = std::exchange(loops_, 0);
  const bool rest_outside = std::exchange(expressions_.saw_rest, false);
  const bool keywords_outside = std::exchange(expressions_.saw_keywords, false);
  node.bodies.push_back(LM_TRY(body("endmacro")));
  loops_ = loops_outside;
  node.takes_rest = std::exchange(expressions_.saw_rest, rest_outside);
  node.takes_keywords = std::exchange(expressions_.saw_keywords, keywords_outside);
  return node;
}

Result<Statement> StatementParser::call_block(int line) {
  Statement node{.kind = Kind::call_block, .line = line};
  node.name = "caller";
  if (tokens_.is_op("(")) node.parameters = LM_TRY(parameters());
  node.expression = LM_TRY(expressions_.expression());
  if (node.expression->kind != Expression::Kind::call) {
    return syntax_error(line, "expected a call after \"call\", found another expression");
  }
  LM_TRY(end_tag());
  const int loops_outside = std::exchange(loops_, 0);
  node.bodies.push_back(LM_TRY(body("endcall")));
  loops_ = loops_outside;
  return node;
}

Result<Statement> StatementParser::filter_block(int line) {
  Statement node{.kind = Kind::filter_block, .line = line};
  node.expression = LM_TRY(expressions_.filter_chain());
  LM_TRY(end_tag());
  const int loops_outside = std::exchange(loops_, 0);
  node.bodies.push_back(LM_TRY(body("endfilter")));
  loops_ = loops_outside;
  return node;
}

Result<Statement> StatementParser::with(int line) {
  Statement node{.kind = Kind::scope, .line = line};
  while (tokens_.current().kind != Token::Kind::block_end) {
    node.targets.push_back(LM_TRY(expressions_.target()));
    LM_TRY(tokens_.expect_op("="));
    node.conditions.push_back(LM_TRY(expressions_.expression()));
    if (!tokens_.accept_op(",")) break;
  }
  LM_TRY(end_tag());
  node.bodies.push_back(LM_TRY(body("endwith")));
  return node;
}

// {% generation %}: what the assistant said; it matters to training only.
Result<Statement> StatementParser::plain_block(int line, std::string_view end) {
  Statement node{.kind = Kind::scope, .line = line};
  LM_TRY(end_tag());
  node.bodies.push_back(LM_TRY(body(end)));
  return node;
}

}  // namespace

Result<Block> parse(std::string_view source) {
  return StatementParser(LM_TRY(tokenize(source))).run();
}

}  // namespace lm::jinja
