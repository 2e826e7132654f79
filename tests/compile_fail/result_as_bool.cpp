// A result is no number.
// expect: bool

#include <string>

#include "prof/prof.hpp"

int main() {
  std::string text;
#if PROF_COMPILE_FAIL
  const bool done = prof::write_heap_profile(prof::append_to(text));
#else
  const bool done{prof::write_heap_profile(prof::append_to(text))};
#endif
  return static_cast<bool>(done) ? 0 : 1;
}
