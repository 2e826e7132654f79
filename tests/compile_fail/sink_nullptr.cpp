// nullptr names no sink.
// expect: use_fd_or_a_file_pointer

#include <cstdio>
#include <string>

#include "prof/prof.hpp"

int main() {
  std::string text;
#if PROF_COMPILE_FAIL
  const prof::result done = prof::write_heap_profile(nullptr);
#else
  const prof::result done = prof::write_heap_profile(static_cast<std::FILE*>(nullptr));
#endif
  return static_cast<bool>(done) ? 0 : 1;
}
