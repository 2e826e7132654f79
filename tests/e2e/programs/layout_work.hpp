// tests/e2e/programs/layout_work.hpp - what each of two objects with different snapshots of prof does.
#ifndef LAYOUT_WORK_HPP
#define LAYOUT_WORK_HPP

#include <prof/api.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

// What a call of the other snapshot must not write beyond.
struct guarded_report {
  prof::status_report report;
  unsigned char canary[8192];
};

inline void burn_labelled(const char* place) {
  const prof::label_scope scope{{"place", place}};
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  const long begin = now.tv_sec * 1000 + now.tv_nsec / 1000000;
  while (now.tv_sec * 1000 + now.tv_nsec / 1000000 - begin < 200) clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
}

// Every kind of public call, from this object. True when each did its work and wrote into its own only.
inline bool use_prof(const char* cpu, const char* heap) {
  static guarded_report guarded;
  std::memset(guarded.canary, 0x5a, sizeof guarded.canary);
  prof::cpu_session session;
  if (auto begun = session.start(cpu); !begun) return std::printf("start: %s\n", begun.message()), false;
  burn_labelled("here");
  if (auto ended = session.stop(); !ended) return std::printf("stop: %s\n", ended.message()), false;
  guarded.report = prof::status();
  for (const unsigned char byte : guarded.canary) {
    if (byte != 0x5a) return std::printf("the canary is dead\n"), false;
  }
  if (guarded.report.value_count == 0) return std::printf("no status\n"), false;
  int rows = 0;
  prof::for_each_profile([&rows](const char*, bool) { ++rows; });
  if (rows == 0) return std::printf("no profiles\n"), false;
  const auto written = prof::write_heap_profile(heap);
  if (!written) std::printf("heap: %s\n", written.message());
  return static_cast<bool>(written);
}

#endif
