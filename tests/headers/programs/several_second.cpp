// The second file with the whole; the cheap header first.
#include <prof/api.hpp>
#include <prof/prof.hpp>

#include <cstdlib>

#include "several.hpp"

__attribute__((noinline)) void second_allocates() {
  kept[1] = std::malloc(1000);
  __asm__ volatile("" ::: "memory");
}

bool second_writes(const char* path) {
  return static_cast<bool>(prof::write_profile("heap", path));
}
