// Has every part off, and asks for a heap profile all the same. The parts are another file's.
#define PROF_ENABLE_CPU 0
#define PROF_ENABLE_HEAP 0
#define PROF_ENABLE_HTTP 0
#define PROF_ENABLE_MUTEX 0
#define PROF_ENABLE_BLOCK 0
#define PROF_ENABLE_THREADS 0
#define PROF_ENABLE_SYMBOLIZE 0
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <prof/prof.hpp>

static_assert(PROF_DETAIL_WITH_CPU + PROF_DETAIL_WITH_HEAP + PROF_DETAIL_WITH_HTTP +
                  PROF_DETAIL_WITH_MUTEX + PROF_DETAIL_WITH_BLOCK + PROF_DETAIL_WITH_THREADS +
                  PROF_DETAIL_WITH_SYMBOLIZE == 0, "this file must bring no part");

void* volatile kept;  // or an optimizer that sees the whole program drops the allocation

__attribute__((noinline)) void main_allocates() {
  kept = std::malloc(1000);
  __asm__ volatile("" ::: "memory");  // not a tail call, so that the frame is there
}

int main(int, char** argv) {
  prof::set_mem_profile_rate(1);
  main_allocates();
  const prof::result named = prof::write_profile("heap", argv[1]);
  const prof::result heap = prof::write_heap_profile(argv[2]);
  if (!named) std::puts(named.message());
  if (!heap) std::puts(heap.message());
  bool cpu = false;
  prof::for_each_profile([&cpu](const char* name, bool available) {
    if (std::strcmp(name, "profile") == 0) cpu = available;
  });
  if (!cpu) std::puts("the CPU profile is not available");
  return named && heap && cpu ? 0 : 1;
}
