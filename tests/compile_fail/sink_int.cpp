// An int is a descriptor only when it says so.
// expect: use_fd_or_a_file_pointer

#include <string>

#include "prof/prof.hpp"

int main() {
  std::string text;
#if PROF_COMPILE_FAIL
  const prof::result done = prof::write_heap_profile(static_cast<int>(text.size()));
#else
  const prof::result done = prof::write_heap_profile(prof::fd(static_cast<int>(text.size())));
#endif
  return static_cast<bool>(done) ? 0 : 1;
}
