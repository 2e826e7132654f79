// Imports the module and sees of prof only what that exports.
#include <cstdlib>

import profiled;

void* volatile kept;  // or an optimizer that sees the whole program drops the allocation

__attribute__((noinline)) void main_allocates() {
  kept = std::malloc(1000);
  __asm__ volatile("" ::: "memory");  // not a tail call, so that the frame is there
}

int main(int, char** argv) {
  count_everything();
  labelled(&main_allocates);
#ifdef WRITE_INLINE
  if (!write_heap_inline(argv[2])) return 1;
#endif
  return write_heap(argv[1]) ? 0 : 1;
}
