// Regular expressions that people write on the command line.
#include "engine/text/pattern.h"

#include "tests/support/support.h"

namespace lm {
namespace {

TEST_CASE("a pattern is found anywhere in a name, unless it is anchored") {
  const Pattern experts = test::require_ok(Pattern::compile("ffn_.*_exps"));
  CHECK(experts.found_in("blk.3.ffn_gate_exps.weight"));
  CHECK_FALSE(experts.found_in("blk.3.ffn_gate.weight"));
  const Pattern layers = test::require_ok(Pattern::compile(R"(^blk\.(\d|1[0-5])\.)"));
  CHECK(layers.found_in("blk.9.attn_q.weight"));
  CHECK(layers.found_in("blk.15.attn_q.weight"));
  CHECK_FALSE(layers.found_in("blk.16.attn_q.weight"));
  CHECK_FALSE(layers.found_in("v.blk.1.attn_q.weight"));
  CHECK(test::require_ok(Pattern::compile("")).found_in(""));
}

TEST_CASE("a broken pattern is refused with the reason") {
  const Result<Pattern> broken = Pattern::compile("ffn_(up");
  REQUIRE_FALSE(broken.ok());
  CHECK(broken.error().code == ErrorCode::bad_request);
  CHECK(broken.error().message.find("ffn_(up") != std::string::npos);
  CHECK(broken.error().message.find(" at 7") != std::string::npos);
}

TEST_CASE("a pattern that would search forever finds nothing") {
  const Pattern slow = test::require_ok(Pattern::compile("^(a+)+$"));
  CHECK_FALSE(slow.found_in(std::string(64, 'a') + "b"));
}

}  // namespace
}  // namespace lm
