// A const std::string could only be a path; it is said with c_str().
// expect: use_append_to_or_a_const_char_path

#include <string>
#include <utility>

#include "prof/prof.hpp"

int main() {
  std::string text;
#if PROF_COMPILE_FAIL
  const prof::result done = prof::write_heap_profile(std::as_const(text));
#else
  const prof::result done = prof::write_heap_profile(std::as_const(text).c_str());
#endif
  return static_cast<bool>(done) ? 0 : 1;
}
