// Runs the test cases. Alone in its object, so that a program with a main of its own may use the
// rest of this library.
#include <doctest/doctest.h>

int main(int argc, char** argv) {
  return doctest::Context(argc, argv).run();
}
