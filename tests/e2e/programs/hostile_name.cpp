// Usage: hostile_name PROFILE. Allocates in a function whose symbol, HOSTILE, stands for a name of hundreds of megabytes. Writes the
// heap profile, and prints how much memory the process had at most, in KiB, and what the profile took of CPU time in milliseconds.
#include <prof/api.hpp>

#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)
void allocate() __asm__(TEXT(HOSTILE));
__attribute__((noinline)) void allocate() {
  for (int i = 0; i < 100; ++i) {
    void* volatile block = std::malloc(100000);
    (void)block;
  }
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  (void)prof::set_mem_profile_rate(4096);
  allocate();
  const std::clock_t begun = std::clock();
  if (!prof::write_heap_profile(argv[1])) return 1;
  const double ms = static_cast<double>(std::clock() - begun) * 1000 / CLOCKS_PER_SEC;
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  std::printf("%ld %.1f\n", used.ru_maxrss, ms);
}
