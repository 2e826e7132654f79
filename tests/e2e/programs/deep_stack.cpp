// Usage: deep_stack CPU_PROFILE HEAP_PROFILE. Allocates and burns CPU 600 calls deep, where 128 frames are kept.
#include <cstdlib>
#include <ctime>

#include <prof/api.hpp>

namespace {
void* volatile kept;
volatile long sink;

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }
}  // namespace

__attribute__((noinline)) void at_the_leaf() {
  for (int i = 0; i < 200; ++i) kept = std::malloc(1000);
  const double end = cpu_seconds() + 0.5;
  while (cpu_seconds() < end) {
    for (int i = 0; i < 1000; ++i) sink = sink + i;
  }
}

__attribute__((noinline)) long descend(int depth) {
  if (depth == 0) {
    at_the_leaf();
    return 0;
  }
  return descend(depth - 1) + sink;
}

__attribute__((noinline)) long from_the_root() { return descend(600) + 1; }

int main(int, char** argv) {
  prof::set_mem_profile_rate(1);
  if (!prof::start_cpu_profile(argv[1])) return 1;
  sink = from_the_root();
  if (!prof::stop_cpu_profile()) return 2;
  return prof::write_heap_profile(argv[2]) ? 0 : 3;
}
