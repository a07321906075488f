// Expressions, one function for each level of precedence.
#include "engine/core/text.h"
#include "engine/text/jinja/parser.h"
#include "engine/text/jinja/string_literal.h"

namespace lm::jinja {

using Node = Expression::Kind;

bool TokenStream::accept_op(std::string_view text) {
  if (!is_op(text)) return false;
  take();
  return true;
}

bool TokenStream::accept_name(std::string_view text) {
  if (!is_name(text)) return false;
  take();
  return true;
}

Status TokenStream::expect_op(std::string_view text) {
  if (accept_op(text)) return ok();
  return unexpected(concat("\"", text, "\""));
}

Result<std::string> TokenStream::expect_name() {
  if (current().kind != Token::Kind::name) return unexpected("a name");
  return take().text;
}

Status TokenStream::expect(Token::Kind kind) {
  if (current().kind != kind) {
    return unexpected(kind == Token::Kind::block_end ? "%}" : "}}");
  }
  take();
  return ok();
}

Error TokenStream::unexpected(std::string_view expected) const {
  std::string found = concat("\"", printable(current().text, 40), "\"");
  switch (current().kind) {
    case Token::Kind::block_end:
      found = "%}";
      break;
    case Token::Kind::variable_end:
      found = "}}";
      break;
    case Token::Kind::end:
      found = "the end of the template";
      break;
    default:
      break;
  }
  return syntax_error(line(), concat("expected ", expected, ", found ", found));
}

// Counts how deep the parser stands in itself.
class ExpressionParser::Nested {
 public:
  explicit Nested(ExpressionParser& parser) : depth_(++parser.depth_), counter_(&parser.depth_) {}
  ~Nested() { --*counter_; }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;
  bool too_deep() const { return depth_ > kMaxSourceDepth; }

 private:
  int depth_;
  int* counter_;
};

namespace {

Error too_deep(int line) {
  return syntax_error(
      line, concat("expected expressions at most ", kMaxSourceDepth, " inside each other"));
}

template <class... Children>
std::vector<ExpressionPtr> children_of(Children... children) {
  std::vector<ExpressionPtr> list;
  (list.push_back(std::move(children)), ...);
  return list;
}

ExpressionPtr constant(int line, Value value) {
  return std::make_unique<Expression>(
      Expression{.kind = Node::constant, .line = line, .value = std::move(value)});
}

}  // namespace

Result<ExpressionPtr> ExpressionParser::made(ExpressionPtr node) {
  const auto deepen = [&](const ExpressionPtr& child) {
    if (child) node->depth = std::max(node->depth, child->depth + 1);
  };
  for (const ExpressionPtr& child : node->children) deepen(child);
  for (const ExpressionPtr& argument : node->arguments) deepen(argument);
  for (const auto& [name, argument] : node->keywords) deepen(argument);
  deepen(node->spread);
  deepen(node->keyword_spread);
  if (node->depth > kMaxSourceDepth) return too_deep(node->line);
  return node;
}

Result<ExpressionPtr> ExpressionParser::make(Node kind, int line,
                                             std::vector<ExpressionPtr> children) {
  auto node = std::make_unique<Expression>(Expression{.kind = kind, .line = line});
  node->children = std::move(children);
  return made(std::move(node));
}

Result<ExpressionPtr> ExpressionParser::expression(bool with_choice) {
  const Nested nested(*this);
  if (nested.too_deep()) return too_deep(tokens_.line());
  ExpressionPtr node = LM_TRY(disjunction());
  while (with_choice && tokens_.is_name("if")) {
    const int line = tokens_.take().line;
    ExpressionPtr condition = LM_TRY(disjunction());
    ExpressionPtr otherwise;
    if (tokens_.accept_name("else")) otherwise = LM_TRY(expression());
    node = LM_TRY(make(Node::choice, line,
                       children_of(std::move(node), std::move(condition), std::move(otherwise))));
  }
  return node;
}

bool ExpressionParser::at_tuple_end() const {
  const Token::Kind kind = tokens_.current().kind;
  return kind == Token::Kind::variable_end || kind == Token::Kind::block_end ||
         tokens_.is_op(")") || tokens_.is_name("in");
}

Result<ExpressionPtr> ExpressionParser::tuple(bool with_choice, bool may_be_empty) {
  const int line = tokens_.line();
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
  while (!at_tuple_end()) {
    items.push_back(LM_TRY(expression(with_choice)));
    if (!tokens_.accept_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items.front());
  if (items.empty() && !may_be_empty) return tokens_.unexpected("an expression");
  return make(Node::tuple, line, std::move(items));
}

Result<ExpressionPtr> ExpressionParser::target() {
  const Nested nested(*this);
  if (nested.too_deep()) return too_deep(tokens_.line());
  const int line = tokens_.line();
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
  while (!at_tuple_end() && !tokens_.is_op("=")) {
    if (tokens_.accept_op("(")) {
      items.push_back(LM_TRY(target()));
      LM_TRY(tokens_.expect_op(")"));
    } else {
      auto node = std::make_unique<Expression>(Expression{.kind = Node::name, .line = line});
      node->name = LM_TRY(tokens_.expect_name());
      if (tokens_.accept_op(".")) {
        node->kind = Node::member;
        node->value = Value::text(LM_TRY(tokens_.expect_name()));
      }
      items.push_back(std::move(node));
    }
    if (!tokens_.accept_op(",")) break;
    is_tuple = true;
  }
  if (items.empty()) return tokens_.unexpected("a name");
  if (!is_tuple) return std::move(items.front());
  return make(Node::tuple, line, std::move(items));
}

// a or b or c, a and b, a ~ b: one node with all operands.
Result<ExpressionPtr> ExpressionParser::chain(Rule operand, Node kind, bool is_op,
                                              std::string_view word) {
  const int line = tokens_.line();
  ExpressionPtr first = LM_TRY((this->*operand)());
  const auto follows = [&] { return is_op ? tokens_.accept_op(word) : tokens_.accept_name(word); };
  if (!follows()) return first;
  std::vector<ExpressionPtr> operands = children_of(std::move(first));
  do {
    operands.push_back(LM_TRY((this->*operand)()));
  } while (follows());
  return make(kind, line, std::move(operands));
}

Result<ExpressionPtr> ExpressionParser::disjunction() {
  return chain(&ExpressionParser::conjunction, Node::any, false, "or");
}

Result<ExpressionPtr> ExpressionParser::conjunction() {
  return chain(&ExpressionParser::negation, Node::all, false, "and");
}

Result<ExpressionPtr> ExpressionParser::negation() {
  if (!tokens_.is_name("not")) return comparison();
  const Nested nested(*this);
  if (nested.too_deep()) return too_deep(tokens_.line());
  const int line = tokens_.take().line;
  return make(Node::negation, line, children_of(LM_TRY(negation())));
}

// Takes it; nullopt when there is none.
std::optional<std::string> ExpressionParser::comparison_operator() {
  for (const std::string_view op : {"==", "!=", "<", "<=", ">", ">="}) {
    if (tokens_.accept_op(op)) return std::string(op);
  }
  if (tokens_.accept_name("in")) return "in";
  const Token& ahead = tokens_.ahead();
  if (tokens_.is_name("not") && ahead.kind == Token::Kind::name && ahead.text == "in") {
    tokens_.take();
    tokens_.take();
    return "not in";
  }
  return std::nullopt;
}

Result<ExpressionPtr> ExpressionParser::comparison() {
  const int line = tokens_.line();
  std::vector<ExpressionPtr> operands = children_of(LM_TRY(sum()));
  std::vector<std::string> operators;
  while (std::optional<std::string> op = comparison_operator()) {
    operators.push_back(std::move(*op));
    operands.push_back(LM_TRY(sum()));
  }
  if (operators.empty()) return std::move(operands.front());
  ExpressionPtr node = LM_TRY(make(Node::compare, line, std::move(operands)));
  node->names = std::move(operators);
  return node;
}

// Left-associative.
Result<ExpressionPtr> ExpressionParser::binary(Rule operand,
                                               std::initializer_list<std::string_view> operators) {
  ExpressionPtr left = LM_TRY((this->*operand)());
  while (true) {
    const auto* op = std::find_if(operators.begin(), operators.end(),
                                  [&](std::string_view text) { return tokens_.is_op(text); });
    if (op == operators.end()) return left;
    const int line = tokens_.take().line;
    ExpressionPtr right = LM_TRY((this->*operand)());
    left = LM_TRY(make(Node::binary, line, children_of(std::move(left), std::move(right))));
    left->name = *op;
  }
}

Result<ExpressionPtr> ExpressionParser::sum() {
  return binary(&ExpressionParser::concatenation, {"+", "-"});
}

Result<ExpressionPtr> ExpressionParser::concatenation() {
  return chain(&ExpressionParser::product, Node::concatenate, true, "~");
}

Result<ExpressionPtr> ExpressionParser::product() {
  return binary(&ExpressionParser::power, {"*", "/", "//", "%"});
}

Result<ExpressionPtr> ExpressionParser::power() {
  return binary(&ExpressionParser::unary, {"**"});
}

Result<ExpressionPtr> ExpressionParser::unary(bool with_filters) {
  const Nested nested(*this);
  if (nested.too_deep()) return too_deep(tokens_.line());
  ExpressionPtr node;
  if (tokens_.is_op("-") || tokens_.is_op("+")) {
    const Token sign = tokens_.take();
    node = LM_TRY(make(sign.text == "-" ? Node::minus : Node::plus, sign.line,
                       children_of(LM_TRY(unary(false)))));
  } else {
    node = LM_TRY(primary());
  }
  node = LM_TRY(postfix(std::move(node)));
  if (!with_filters) return node;
  return filters(std::move(node));
}

Result<ExpressionPtr> ExpressionParser::literal() {
  const Token token = tokens_.take();
  const std::string& name = token.text;
  if (name == "true" || name == "True") return constant(token.line, Value::boolean(true));
  if (name == "false" || name == "False") return constant(token.line, Value::boolean(false));
  if (name == "none" || name == "None") return constant(token.line, Value::none());
  saw_rest = saw_rest || name == "varargs";
  saw_keywords = saw_keywords || name == "kwargs";
  ExpressionPtr node = LM_TRY(make(Node::name, token.line, {}));
  node->name = name;
  return node;
}

Result<ExpressionPtr> ExpressionParser::number() {
  const Token token = tokens_.take();
  if (token.kind == Token::Kind::real) {
    const std::optional<double> value = parse_double(token.text);
    if (!value)
      return syntax_error(token.line, "expected a number, found one that is out of range");
    return constant(token.line, Value::real(*value));
  }
  const std::string_view text = token.text;
  const bool has_base = text.size() > 2 && text[0] == '0' && (text[1] | 0x20) >= 'a';
  const std::optional<int64_t> value =
      has_base ? parse_based(text.substr(2), text[1]) : parse_int(text);
  if (!value) {
    return syntax_error(token.line, concat("expected an integer, found ", printable(text, 40)));
  }
  return constant(token.line, Value::integer(*value));
}

Result<ExpressionPtr> ExpressionParser::primary() {
  const Token& token = tokens_.current();
  const int line = token.line;
  if (token.kind == Token::Kind::name) return literal();
  if (token.kind == Token::Kind::integer || token.kind == Token::Kind::real) return number();
  if (token.kind == Token::Kind::string) {
    std::string text;
    while (tokens_.current().kind == Token::Kind::string) text += tokens_.take().text;
    return constant(line, Value::text(text));
  }
  if (tokens_.accept_op("(")) {
    ExpressionPtr node = LM_TRY(tuple(true, true));
    LM_TRY(tokens_.expect_op(")"));
    return node;
  }
  if (tokens_.is_op("[")) return list();
  if (tokens_.is_op("{")) return dict();
  return tokens_.unexpected("an expression");
}

Result<ExpressionPtr> ExpressionParser::list() {
  const int line = tokens_.take().line;
  std::vector<ExpressionPtr> items;
  while (!tokens_.is_op("]")) {
    items.push_back(LM_TRY(expression()));
    if (!tokens_.accept_op(",")) break;
  }
  LM_TRY(tokens_.expect_op("]"));
  return make(Node::list, line, std::move(items));
}

Result<ExpressionPtr> ExpressionParser::dict() {
  const int line = tokens_.take().line;
  std::vector<ExpressionPtr> items;
  while (!tokens_.is_op("}")) {
    items.push_back(LM_TRY(expression()));
    LM_TRY(tokens_.expect_op(":"));
    items.push_back(LM_TRY(expression()));
    if (!tokens_.accept_op(",")) break;
  }
  LM_TRY(tokens_.expect_op("}"));
  return make(Node::dict, line, std::move(items));
}

Result<ExpressionPtr> ExpressionParser::postfix(ExpressionPtr node) {
  while (true) {
    if (tokens_.is_op(".")) {
      node = LM_TRY(member(std::move(node)));
    } else if (tokens_.is_op("[")) {
      node = LM_TRY(subscript(std::move(node)));
    } else if (tokens_.is_op("(")) {
      node = LM_TRY(call(std::move(node)));
    } else {
      return node;
    }
  }
}

Result<ExpressionPtr> ExpressionParser::member(ExpressionPtr node) {
  const int line = tokens_.take().line;
  if (tokens_.current().kind == Token::Kind::integer) {
    ExpressionPtr index = LM_TRY(number());
    return make(Node::item, line, children_of(std::move(node), std::move(index)));
  }
  std::string name = LM_TRY(tokens_.expect_name());
  ExpressionPtr result = LM_TRY(make(Node::attribute, line, children_of(std::move(node))));
  result->name = std::move(name);
  return result;
}

// a[i], a[i, j] (a tuple), a[from:to:step] with any part missing.
Result<ExpressionPtr> ExpressionParser::subscript(ExpressionPtr node) {
  const int line = tokens_.take().line;
  std::vector<ExpressionPtr> parts = children_of(std::move(node), ExpressionPtr());
  bool is_tuple = false;
  std::vector<ExpressionPtr> indices;
  while (!tokens_.is_op("]")) {
    if (tokens_.accept_op(":")) {
      parts.emplace_back();
      continue;
    }
    ExpressionPtr part = LM_TRY(expression());
    if (tokens_.accept_op(",")) {
      is_tuple = true;
      indices.push_back(std::move(part));
      continue;
    }
    if (is_tuple) {
      indices.push_back(std::move(part));
      break;
    }
    if (parts.back()) return tokens_.unexpected("\"]\"");
    parts.back() = std::move(part);
  }
  const bool is_slice = parts.size() > 2;
  LM_TRY(tokens_.expect_op("]"));
  if (is_tuple) parts[1] = LM_TRY(make(Node::tuple, line, std::move(indices)));
  if (parts.size() > 4 || (is_slice && is_tuple)) {
    return syntax_error(line, "expected a slice of at most three parts, found more");
  }
  if (!is_slice && !parts[1]) return syntax_error(line, "expected an index between [ and ]");
  parts.resize(is_slice ? 4 : 2);
  return make(is_slice ? Node::slice : Node::item, line, std::move(parts));
}

Status ExpressionParser::arguments(Expression& node) {
  LM_TRY(tokens_.expect_op("("));
  while (!tokens_.is_op(")")) {
    if (tokens_.accept_op("**")) {
      node.keyword_spread = LM_TRY(expression());
    } else if (tokens_.accept_op("*")) {
      node.spread = LM_TRY(expression());
    } else if (tokens_.current().kind == Token::Kind::name &&
               tokens_.ahead().kind == Token::Kind::op && tokens_.ahead().text == "=") {
      std::string name = tokens_.take().text;
      tokens_.take();
      node.keywords.emplace_back(std::move(name), LM_TRY(expression()));
    } else {
      if (!node.keywords.empty()) return tokens_.unexpected("an argument with a name");
      node.arguments.push_back(LM_TRY(expression()));
    }
    if (!tokens_.accept_op(",")) break;
  }
  return tokens_.expect_op(")");
}

Result<ExpressionPtr> ExpressionParser::call(ExpressionPtr node) {
  ExpressionPtr result = LM_TRY(make(Node::call, tokens_.line(), children_of(std::move(node))));
  LM_TRY(arguments(*result));
  return made(std::move(result));
}

Result<ExpressionPtr> ExpressionParser::filters(ExpressionPtr node) {
  while (true) {
    if (tokens_.accept_op("|")) {
      node = LM_TRY(one_filter(std::move(node)));
    } else if (tokens_.is_name("is")) {
      node = LM_TRY(test(std::move(node)));
    } else if (tokens_.is_op("(")) {
      node = LM_TRY(call(std::move(node)));
    } else {
      return node;
    }
  }
}

Result<ExpressionPtr> ExpressionParser::filter_chain() {
  return filters(LM_TRY(one_filter(nullptr)));
}

Result<ExpressionPtr> ExpressionParser::one_filter(ExpressionPtr node) {
  const int line = tokens_.line();
  ExpressionPtr filter = LM_TRY(make(Node::filter, line, children_of(std::move(node))));
  filter->name = LM_TRY(tokens_.expect_name());
  if (tokens_.is_op("(")) LM_TRY(arguments(*filter));
  return made(std::move(filter));
}

Result<ExpressionPtr> ExpressionParser::test(ExpressionPtr node) {
  const int line = tokens_.take().line;
  const bool negated = tokens_.accept_name("not");
  ExpressionPtr result = LM_TRY(make(Node::test, line, children_of(std::move(node))));
  result->name = LM_TRY(tokens_.expect_name());
  const Token& next = tokens_.current();
  const bool is_word = next.kind == Token::Kind::name && next.text != "else" && next.text != "or" &&
                       next.text != "and" && next.text != "is";
  const bool is_literal = next.kind == Token::Kind::string || next.kind == Token::Kind::integer ||
                          next.kind == Token::Kind::real;
  if (tokens_.is_op("(")) {
    LM_TRY(arguments(*result));
  } else if (tokens_.is_name("is")) {
    return syntax_error(line, "expected one test after \"is\", found a chain of them");
  } else if (is_word || is_literal || tokens_.is_op("[") || tokens_.is_op("{")) {
    const Nested nested(*this);
    if (nested.too_deep()) return too_deep(line);
    result->arguments.push_back(LM_TRY(postfix(LM_TRY(primary()))));
  }
  result = LM_TRY(made(std::move(result)));
  if (!negated) return result;
  return make(Node::negation, line, children_of(std::move(result)));
}

}  // namespace lm::jinja
