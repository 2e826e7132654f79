// A session is one profile and cannot be copied.
// expect: deleted

#include <string>

#include "prof/prof.hpp"

int main() {
  std::string text;
#if PROF_COMPILE_FAIL
  prof::cpu_session first;
  prof::cpu_session second = first;
  const prof::result done = second.stop();
#else
  prof::cpu_session first;
  const prof::result done = first.stop();
#endif
  return static_cast<bool>(done) ? 0 : 1;
}
