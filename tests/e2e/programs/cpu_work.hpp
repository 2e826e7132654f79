// What the CPU tests share: clocks of CPU time, work measured by them, and errors that end a program.
#pragma once
#include <sys/resource.h>
#include <time.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <prof/api.hpp>

// One function under its own name: not inlined, cloned or merged with another of the same body.
#if defined(__clang__)
#define WORK_FUNCTION __attribute__((noinline))
#else
#define WORK_FUNCTION __attribute__((noinline, noclone, no_icf))
#endif
// Behind a call that must not become a tail call.
#define STAY_ON_STACK() __asm__ volatile("" ::: "memory")

inline std::uint64_t thread_cpu_ns() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000u + static_cast<std::uint64_t>(now.tv_nsec);
}

// User and system time of the whole process, as getrusage tells it.
inline std::uint64_t process_cpu_ns() {
  rusage used;
  getrusage(RUSAGE_SELF, &used);
  const auto ns = [](const timeval& t) {
    return static_cast<std::uint64_t>(t.tv_sec) * 1000000000u + static_cast<std::uint64_t>(t.tv_usec) * 1000u;
  };
  return ns(used.ru_utime) + ns(used.ru_stime);
}

// About 400 us of pure arithmetic between two looks at the clock, so that next to no sample falls into the
// clock: it is code without frame pointers.
__attribute__((always_inline)) inline void compute() {
  static volatile std::uint64_t sink;
  std::uint64_t x = sink;
  for (int i = 0; i < 400000; ++i) x = x * 6364136223846793005u + 1442695040888963407u;
  sink = x;
}

// Returns when the calling thread has used so much CPU time.
__attribute__((always_inline)) inline void burn_ns(std::uint64_t ns) {
  const std::uint64_t end = thread_cpu_ns() + ns;
  while (thread_cpu_ns() < end) compute();
}

inline void need(const prof::result& outcome, const char* what) {
  if (outcome) return;
  std::fprintf(stderr, "%s: %s\n", what, outcome.message());
  std::exit(3);
}
