// Usage: LD_PRELOAD=counting_malloc.so thread_allocations. Starts and joins 200 threads one after the other while a CPU
// profile runs, and prints how many allocations the next allocator saw, and how many threads prof saw. Built with
// -DPROF_HOOKS=none it tells what libc itself allocates.
#include "../e2e/programs/cpu_work.hpp"

#include <dlfcn.h>
#include <pthread.h>

int main() {
  void* const found = dlsym(RTLD_DEFAULT, "counted_allocations");
  if (found == nullptr) return 5;
  const auto allocations = reinterpret_cast<unsigned long (*)()>(found);
  need(prof::start_cpu_profile("/dev/null"), "start");
  const auto one_thread = [] {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, [](void* p) { return p; }, nullptr) != 0) std::exit(6);
    pthread_join(thread, nullptr);
  };
  one_thread();  // libc's own first time
  const auto seen_before = prof::status().number("threads started");
  const unsigned long before = allocations();
  for (int i = 0; i < 200; ++i) one_thread();
  const unsigned long during = allocations() - before;
  const auto seen = prof::status().number("threads started") - seen_before;
  need(prof::stop_cpu_profile(), "stop");
  std::printf("%lu %llu\n", during, static_cast<unsigned long long>(seen));
}
