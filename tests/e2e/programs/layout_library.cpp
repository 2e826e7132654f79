// A library whose prof has the version of the program's, and other tables.
#ifndef ANNOTATE_ONLY
#include <prof/prof.hpp>
#endif
#include "layout_work.hpp"

void* volatile library_kept;

__attribute__((visibility("default"))) bool use_library(const char* cpu, const char* heap) {
  for (int i = 0; i < 1000; ++i) library_kept = std::malloc(100);
  return use_prof(cpu, heap);
}
