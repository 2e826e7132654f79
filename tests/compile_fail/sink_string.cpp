// A std::string could be a path or a buffer: prof asks which.
// expect: use_append_to_or_a_const_char_path

#include <string>

#include "prof/prof.hpp"

int main() {
  std::string text;
#if PROF_COMPILE_FAIL
  const prof::result done = prof::write_heap_profile(text);
#else
  const prof::result done = prof::write_heap_profile(prof::append_to(text));
#endif
  return static_cast<bool>(done) ? 0 : 1;
}
