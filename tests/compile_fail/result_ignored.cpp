// An error cannot be overlooked.
// expect: nodiscard

#include <string>

#include "prof/prof.hpp"

int main() {
  std::string text;
#if PROF_COMPILE_FAIL
  const prof::result done;
  prof::write_heap_profile(prof::append_to(text));
#else
  const prof::result done = prof::write_heap_profile(prof::append_to(text));
#endif
  return static_cast<bool>(done) ? 0 : 1;
}
