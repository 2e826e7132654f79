// A temporary std::string would be gone before it is used as a buffer.
// expect: use_append_to_or_a_const_char_path

#include <string>

#include "prof/prof.hpp"

int main() {
  std::string text;
#if PROF_COMPILE_FAIL
  const prof::result done = prof::write_heap_profile(text + ".pb.gz");
#else
  const prof::result done = prof::write_heap_profile((text + ".pb.gz").c_str());
#endif
  return static_cast<bool>(done) ? 0 : 1;
}
