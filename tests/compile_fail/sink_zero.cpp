// A literal 0 could be a null path or a descriptor.
// expect: use_fd_or_a_file_pointer

#include <string>

#include "prof/prof.hpp"

int main() {
  std::string text;
#if PROF_COMPILE_FAIL
  const prof::result done = prof::write_heap_profile(0);
#else
  const prof::result done = prof::write_heap_profile(prof::fd(0));
#endif
  return static_cast<bool>(done) ? 0 : 1;
}
