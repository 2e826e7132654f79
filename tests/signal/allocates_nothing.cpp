// Usage: LD_PRELOAD=counting_malloc.so allocates_nothing. Allocates and frees in 10,000 sampled rounds while the
// CPU profile ticks at 1000 Hz, on two threads. Prints: own allocations, those the next allocator saw,
// own frees, those it saw, heap samples taken, CPU samples taken.
#include "../e2e/programs/cpu_work.hpp"

#include <dlfcn.h>

#include <atomic>
#include <thread>

namespace {
constexpr unsigned long rounds = 10000;
std::atomic<unsigned long> own_allocations{0};
std::atomic<unsigned long> own_frees{0};
std::atomic<int> gate{0};

template <class Function>
Function find(const char* name) {
  void* const found = dlsym(RTLD_DEFAULT, name);
  if (found == nullptr) std::exit(5);
  return reinterpret_cast<Function>(found);
}

// Every round from a stack depth of its own, so that new stacks and new counts are entered as well.
WORK_FUNCTION void allocate_at(unsigned depth, std::size_t size) {
  if (depth != 0) {
    allocate_at(depth - 1, size);
    STAY_ON_STACK();
    return;
  }
  void* volatile a = std::malloc(size);
  void* volatile b = std::calloc(1, size);
  char* volatile c = new char[size];
  void* volatile d = std::realloc(a, size * 2);
  own_allocations.fetch_add(4);
  own_frees.fetch_add(3);  // realloc frees inside the next allocator
  std::free(d);
  std::free(b);
  delete[] c;
}

void work() {
  for (unsigned long i = 0; i < rounds / 2; ++i) {
    allocate_at(static_cast<unsigned>(i % 50), 16 + i % 300);
    if (i % 10 == 0) compute();
  }
}

void wait_for(int stage) {
  while (gate.load() < stage) std::this_thread::yield();
}
}  // namespace

int main() {
  const auto allocations = find<unsigned long (*)()>("counted_allocations");
  const auto frees = find<unsigned long (*)()>("counted_frees");
  prof::set_mem_profile_rate(1);
  prof::cpu_options options;
  options.hz = 1000;
  need(prof::start_cpu_profile("/dev/null", options), "start");
  const prof::status_report before = prof::status();
  std::thread other([] {
    gate.store(1);  // exists, and what its start allocated is allocated
    wait_for(2);
    work();
    gate.store(3);
    wait_for(4);  // before its end frees something
  });
  wait_for(1);
  const unsigned long allocations_before = allocations();
  const unsigned long frees_before = frees();
  gate.store(2);
  work();
  wait_for(3);
  const unsigned long seen_allocations = allocations() - allocations_before;
  const unsigned long seen_frees = frees() - frees_before;
  gate.store(4);
  other.join();
  const prof::status_report after = prof::status();
  need(prof::stop_cpu_profile(), "stop");
  std::printf("%lu %lu %lu %lu %llu %llu\n", own_allocations.load(), seen_allocations, own_frees.load(),
              seen_frees, static_cast<unsigned long long>(after.number("heap samples") - before.number("heap samples")),
              static_cast<unsigned long long>(after.number("cpu samples") - before.number("cpu samples")));
}
