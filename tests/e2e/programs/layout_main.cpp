// Allocates, and lets the library allocate and write its profile; then writes its own.
#include <cstdlib>
#include <prof/prof.hpp>

bool library_profile(const char* path);
void* volatile kept;

int main(int, char** argv) {
  prof::set_mem_profile_rate(1);
  for (int i = 0; i < 1000; ++i) kept = std::malloc(200);
  if (!library_profile(argv[1])) return 1;
  for (int i = 0; i < 1000; ++i) kept = std::malloc(200);
  return prof::write_heap_profile(argv[2]) ? 0 : 2;
}
