// Regular expressions that people write on the command line.
#include "engine/text/name_pattern.h"

#include "tests/support/support.h"

namespace lm {
namespace {

TEST_CASE("a pattern is found anywhere in a name, unless it is anchored") {
  const NamePattern experts = test::require_ok(NamePattern::compile("ffn_.*_exps"));
  CHECK(experts.occurs_in("blk.3.ffn_gate_exps.weight"));
  CHECK_FALSE(experts.occurs_in("blk.3.ffn_gate.weight"));
  const NamePattern layers = test::require_ok(NamePattern::compile(R"(^blk\.(\d|1[0-5])\.)"));
  CHECK(layers.occurs_in("blk.9.attn_q.weight"));
  CHECK(layers.occurs_in("blk.15.attn_q.weight"));
  CHECK_FALSE(layers.occurs_in("blk.16.attn_q.weight"));
  CHECK_FALSE(layers.occurs_in("v.blk.1.attn_q.weight"));
  CHECK_FALSE(NamePattern::compile("").ok());
}

TEST_CASE("a broken pattern is refused with the reason") {
  const Result<NamePattern> broken = NamePattern::compile("ffn_(up");
  REQUIRE_FALSE(broken.ok());
  CHECK(broken.error().code == ErrorCode::bad_request);
  CHECK(broken.error().message.find("ffn_(up") != std::string::npos);
  CHECK(broken.error().message.find(" at byte 7") != std::string::npos);
}

TEST_CASE("a pattern that would search forever finds nothing") {
  const NamePattern slow = test::require_ok(NamePattern::compile("^(a+)+$"));
  CHECK_FALSE(slow.occurs_in(std::string(64, 'a') + "b"));
}

}  // namespace
}  // namespace lm
