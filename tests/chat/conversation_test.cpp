// A conversation as a tree: branches, undo, and what is restored from a record.
#include "engine/chat/conversation.h"

#include <algorithm>

#include "engine/chat/tree_view.h"
#include "tests/support/support.h"

namespace lm::chat {
namespace {

std::string spelled(const Conversation& conversation) {
  std::string text;
  for (const Message* message : conversation.path()) text += message->content + " ";
  return text;
}

Message user(std::string text) {
  return {.role = Role::user, .content = std::move(text)};
}
Message assistant(std::string text) {
  return {.role = Role::assistant, .content = std::move(text)};
}

// q1 - a1 - q2 - a2
//        \- q3 - a3
Conversation forked() {
  Conversation c;
  for (const char* text : {"q1", "q2"}) {
    c.say(user(text));
    c.say(assistant("a" + std::string(text + 1)));
  }
  REQUIRE(c.go_to(2));
  c.say(user("q3"));
  c.say(assistant("a3"));
  return c;
}

TEST_CASE("conversation: what is said follows the current message") {
  Conversation c = forked();
  CHECK(spelled(c) == "q1 a1 q3 a3 ");
  CHECK(c.tips() == std::vector<int>{4, 6});
  CHECK(c.replies(2) == std::vector<int>{3, 5});
  CHECK(c.replies(Conversation::kRoot) == std::vector<int>{1});
  REQUIRE(c.go_to(4));
  CHECK(spelled(c) == "q1 a1 q2 a2 ");
  CHECK(c.last(Role::user)->content == "q2");
  REQUIRE(c.go_to(Conversation::kRoot));
  CHECK(c.path().empty());
  CHECK(c.last(Role::user) == nullptr);
  CHECK(c.say(user("again")).parent == Conversation::kRoot);
}

TEST_CASE("conversation: there is nothing to go to outside of it") {
  Conversation c = forked();
  for (const int id : {-1, 7, 1000000}) CHECK_FALSE(c.go_to(id));
  CHECK(c.current() == 6);
  CHECK(c.find(0) == nullptr);
  CHECK(Conversation().tips().empty());
}

TEST_CASE("conversation: restoring refuses what can't be, and bridges what was lost") {
  Conversation c;
  CHECK_FALSE(c.restore({.id = 0}));
  CHECK_FALSE(c.restore({.id = -3}));
  CHECK_FALSE(c.restore({.id = 1, .parent = 1}));
  CHECK_FALSE(c.restore({.id = 1, .parent = -1}));
  CHECK(c.restore({.id = 2, .content = "x"}));
  CHECK_FALSE(c.restore({.id = 2, .parent = 1}));
  CHECK(c.restore({.id = 6, .parent = 5, .content = "y"}));  // 3, 4 and 5 were lost
  CHECK(c.find(6)->parent == 2);
  CHECK(c.say(user("z")).id == 7);
  CHECK(spelled(c) == "x y z ");
  CHECK_FALSE(c.restore({.id = INT32_MAX, .parent = 7}));
}

TEST_CASE("tree: forks go to the right, the current path is marked") {
  CHECK(tree_text(forked(), 40) ==
        "* 1 user: q1\n"
        "* 2 assistant: a1\n"
        "  3   user: q2\n"
        "  4   assistant: a2\n"
        "* 5   user: q3\n"
        "* 6   assistant: a3");
  CHECK(tree_text(Conversation(), 40).empty());
  Conversation wide;
  wide.say(user("a\n\x1b[1m漢字漢字漢字"));
  CHECK(tree_text(wide, 24) == "* 1 user: a ?[1m漢字漢…");
}

TEST_CASE("tree: a very long conversation and a very wide one") {
  Conversation c;
  for (int i = 0; i < 20000; ++i) {
    if (i % 3 == 0) c.go_to(i / 2);
    c.say(user("m"));
  }
  const std::string text = tree_text(c, 80);
  CHECK(std::count(text.begin(), text.end(), '\n') == 19999);
}

}  // namespace
}  // namespace lm::chat
