// Writes to a stream that throws when the disk is full.
#include <fstream>

#include <prof/prof.hpp>

bool write_without_exceptions(const char* path);

int main(int, char** argv) {
  if (!write_without_exceptions(argv[1])) return 1;
  std::ofstream full("/dev/full", std::ios::binary);
  full.exceptions(std::ios::badbit | std::ios::failbit);
  return prof::write_heap_profile(full) ? 2 : 0;
}
