// What doctest prints: it ends with one line that scripts/run_tests adds up,
// "N passed, N failed, N skipped". A skipped case is named above it with its reason.
#define DOCTEST_CONFIG_IMPLEMENT
#include <cstdio>
#include <set>

#include "tests/support/support.h"

namespace {

struct Summary : doctest::IReporter {
  static std::set<std::string>& skipped() {
    static std::set<std::string> names;
    return names;
  }
  static std::string& current() {
    static std::string name;
    return name;
  }
  int ran_ = 0;  // doctest's own number counts those outside --first and --last, too

  explicit Summary(const doctest::ContextOptions&) {}
  void test_case_start(const doctest::TestCaseData& data) override {
    current() = data.m_name;
    ++ran_;
  }
  void test_run_end(const doctest::TestRunStats& stats) override {
    const int failed = int(stats.numTestCasesFailed);
    const int skips = int(skipped().size());
    std::printf("%d passed, %d failed, %d skipped\n", ran_ - failed - skips, failed, skips);
  }
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};

}  // namespace

REGISTER_LISTENER("summary", 1, Summary);

namespace lm::test {

void record_skip(std::string_view reason) {
  if (Summary::skipped().insert(Summary::current()).second) {
    std::printf("SKIPPED: %s: %.*s\n", Summary::current().c_str(), int(reason.size()),
                reason.data());
  }
}

}  // namespace lm::test
