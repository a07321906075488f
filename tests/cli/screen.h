// tests/cli/screen.h — what a terminal shows of the bytes that it was sent: enough of an xterm for
// what line editing sends, so that tests see what a person sees.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace lm::test {

class Screen {
 public:
  Screen(int rows, int columns);

  void feed(std::string_view bytes);
  std::string line(int row) const;  // without the spaces at its end
  std::string all() const;          // its lines, without empty ones at the end
  int row() const { return row_; }
  int column() const { return column_; }

 private:
  void put(std::string_view character, int width);
  void control(char final, const std::vector<int>& parameters);
  void new_line();

  // A cell holds a character with the combining ones after it; the second cell of a wide one is "".
  std::vector<std::vector<std::string>> cells_;
  int rows_, columns_, row_ = 0, column_ = 0;
  bool wraps_ = false;  // the last column was filled: the next character begins a line
};

}  // namespace lm::test
