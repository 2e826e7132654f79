// A program of three files: two include the whole, in different ways, and one only annotates.
#include <cstdlib>

#include <prof/prof.hpp>

#include "several.hpp"

void* volatile kept[2];

__attribute__((noinline)) void main_allocates() {
  kept[0] = std::malloc(1000);
  __asm__ volatile("" ::: "memory");  // not a tail call, so that the frame is there
}

int main(int, char** argv) {
  prof::set_mem_profile_rate(1);
  main_allocates();
  annotated(&second_allocates);
  return prof::write_heap_profile(argv[1]) && second_writes(argv[2]) ? 0 : 1;
}
