// engine/text/jinja/parser.h — tokens to statements. Depth is bounded: what recurses over the
// result need not fear the stack. Source: the Jinja documentation, "Template Designer
// Documentation"; precedence as Jinja 3.1 has it.
#pragma once
#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/core/result.h"
#include "engine/text/jinja/ast.h"
#include "engine/text/jinja/lexer.h"

namespace lm::jinja {

inline constexpr int kMaxSourceDepth = 100;  // of blocks and expressions inside each other

Result<Block> parse(std::string_view source);

// The part of the parser that both kinds of its rules stand on.
class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take() { return at_ + 1 < tokens_.size() ? std::move(tokens_[at_++]) : tokens_[at_]; }
  int line() const { return current().line; }
  bool is_op(std::string_view text) const { return is(Token::Kind::op, text); }
  bool is_name(std::string_view text) const { return is(Token::Kind::name, text); }
  bool accept_op(std::string_view text);
  bool accept_name(std::string_view text);
  Status expect_op(std::string_view text);
  Result<std::string> expect_name();  // any
  Status expect(Token::Kind kind);
  Error unexpected(std::string_view expected) const;

 private:
  bool is(Token::Kind kind, std::string_view text) const {
    return current().kind == kind && current().text == text;
  }
  std::vector<Token> tokens_;
  size_t at_ = 0;
};

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  Result<ExpressionPtr> expression(bool with_choice = true);
  // "a, b": a tuple when there is a comma.
  Result<ExpressionPtr> tuple(bool with_choice = true, bool may_be_empty = false);
  Result<ExpressionPtr> target();  // what = or for assigns to
  Result<ExpressionPtr> filters(
      ExpressionPtr node);  // | f | g ... behind node (null: a block's text)
  // A filter's chain that begins with its name: {% filter upper | trim %}.
  Result<ExpressionPtr> filter_chain();
  // Whether the macro that is being parsed names these.
  bool saw_rest = false, saw_keywords = false;

 private:
  class Nested;
  using Rule = Result<ExpressionPtr> (ExpressionParser::*)();

  Result<ExpressionPtr> make(Expression::Kind kind, int line, std::vector<ExpressionPtr> children);
  Result<ExpressionPtr> made(ExpressionPtr node);  // with its depth
  Result<ExpressionPtr> disjunction();
  Result<ExpressionPtr> conjunction();
  Result<ExpressionPtr> negation();
  Result<ExpressionPtr> comparison();
  Result<ExpressionPtr> sum();
  Result<ExpressionPtr> concatenation();
  Result<ExpressionPtr> product();
  Result<ExpressionPtr> power();
  Result<ExpressionPtr> unary() { return unary(true); }
  Result<ExpressionPtr> unary(bool with_filters);
  Result<ExpressionPtr> primary();
  Result<ExpressionPtr> literal();
  Result<ExpressionPtr> number();
  Result<ExpressionPtr> list();
  Result<ExpressionPtr> dict();
  Result<ExpressionPtr> postfix(ExpressionPtr node);
  Result<ExpressionPtr> member(ExpressionPtr node);
  Result<ExpressionPtr> subscript(ExpressionPtr node);
  Result<ExpressionPtr> call(ExpressionPtr node);
  Result<ExpressionPtr> one_filter(ExpressionPtr node);
  Result<ExpressionPtr> test(ExpressionPtr node);
  Status arguments(Expression& call);
  Result<ExpressionPtr> chain(Rule operand, Expression::Kind kind, bool is_op,
                              std::string_view word);
  Result<ExpressionPtr> binary(Rule operand, std::initializer_list<std::string_view> operators);
  std::optional<std::string> comparison_operator();
  bool at_tuple_end() const;

  TokenStream& tokens_;
  int depth_ = 0;
};

}  // namespace lm::jinja
