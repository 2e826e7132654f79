// A CPU profile at 1000 Hz, the first in the process, of 60 functions among 30,000: each rule is found for the first
// time, by interpreting call frame information. many_functions FILE [pages of stack below them]
#include <prof/api.hpp>

#include <pthread.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>

__asm__(".text\n.rept 30000\n.cfi_startproc\nnop\nret\n.balign 16\n.cfi_endproc\n.endr\n");

volatile long sink;

__attribute__((noinline)) void spin() {
  timespec now;
  do {
    for (int i = 0; i < 1000; ++i) sink = sink + i;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  } while (now.tv_sec == 0 && now.tv_nsec < 500000000);
}
template <int n>
__attribute__((noinline)) long step(long a) {
  volatile char room[64];
  room[0] = static_cast<char>(a);
  if constexpr (n == 0) spin();
  else sink = step<n - 1>(a + n);
  return sink + room[0];
}
__attribute__((noinline)) long takes_a_page(long pages) {
  volatile char room[4096];
  room[0] = 0;
  return (pages == 0 ? step<60>(1) : takes_a_page(pages - 1)) + room[0];
}
void* work(void* pages) {
  sink = takes_a_page(*static_cast<long*>(pages)) + 1;
  return nullptr;
}

int main(int argc, char** argv) {
  std::FILE* const file = argc > 1 ? std::fopen(argv[1], "wb") : nullptr;
  long pages = argc > 2 ? std::atol(argv[2]) : 0;
  if (file == nullptr) return 2;
  prof::cpu_options options;
  options.hz = 1000;
  if (auto r = prof::start_cpu_profile(file, options); !r) return std::fprintf(stderr, "%s\n", r.message()), 3;
  pthread_attr_t attributes;
  pthread_t thread;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, std::size_t{64} << 20);
  pthread_create(&thread, &attributes, work, &pages);
  pthread_join(thread, nullptr);
  if (auto r = prof::stop_cpu_profile(); !r) return std::fprintf(stderr, "%s\n", r.message()), 4;
  return std::fclose(file);
}
