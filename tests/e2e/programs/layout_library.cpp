// A library whose prof has the version of the program's, and other tables.
#include <cstdlib>
#include <prof/prof.hpp>

void* volatile library_kept;

bool library_profile(const char* path) {
  for (int i = 0; i < 1000; ++i) library_kept = std::malloc(100);
  return static_cast<bool>(prof::write_heap_profile(path));
}
