// Allocates, and lets the library do all that prof offers; then does it itself.
#ifndef ANNOTATE_ONLY
#include <prof/prof.hpp>
#endif
#include "layout_work.hpp"

__attribute__((visibility("default"))) bool use_library(const char* cpu, const char* heap);
void* volatile kept;

int main(int, char** argv) {
  (void)prof::set_mem_profile_rate(1);
  for (int i = 0; i < 1000; ++i) kept = std::malloc(200);
  if (!use_library(argv[1], argv[2])) return 1;
  for (int i = 0; i < 1000; ++i) kept = std::malloc(200);
  return use_prof(argv[3], argv[4]) ? 0 : 2;
}
